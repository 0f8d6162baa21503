import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.HostKey;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.util.Base64;

/** JSch, as mwiede keeps it. */
final class JschClient implements Client {
    private static final int PATIENCE_MS = 30_000;
    private final Session session;

    JschClient(int port, String fingerprint, String hostKey) throws Exception {
        var library = new JSch();
        var name = "[127.0.0.1]:" + port;
        library.getHostKeyRepository().add(
                new HostKey(name, Base64.getDecoder().decode(hostKey)), null);
        session = library.getSession("anybody", "127.0.0.1", port);
        session.setConfig("StrictHostKeyChecking", "yes");
        session.setPassword("any".getBytes());
        session.connect(PATIENCE_MS);
    }

    @Override
    public Done execute(String command, byte[] input, boolean terminal) throws Exception {
        var channel = (ChannelExec) session.openChannel("exec");
        try {
            var err = new ByteArrayOutputStream();
            channel.setCommand(command);
            channel.setPty(terminal);
            channel.setErrStream(err);
            channel.setInputStream(new ByteArrayInputStream(input));
            var from = channel.getInputStream();
            channel.connect(PATIENCE_MS);
            var out = new ByteArrayOutputStream();
            from.transferTo(out);
            while (!channel.isClosed()) {
                Thread.sleep(5);
            }
            return new Done(channel.getExitStatus(), out.toByteArray(), err.toByteArray());
        } finally {
            channel.disconnect();
        }
    }

    private ChannelSftp files() throws Exception {
        var channel = (ChannelSftp) session.openChannel("sftp");
        channel.connect(PATIENCE_MS);
        return channel;
    }

    @Override
    public void upload(String here, String there) throws Exception {
        var files = files();
        files.put(here, there);
        files.disconnect();
    }

    @Override
    public void download(String there, String here) throws Exception {
        var files = files();
        files.get(there, here);
        files.disconnect();
    }

    @Override
    public int local(int there) throws Exception {
        return session.setPortForwardingL("127.0.0.1", 0, "127.0.0.1", there);
    }

    @Override
    public int localUnix(String there) throws Exception {
        return session.setSocketForwardingL("127.0.0.1", 0, there, null, PATIENCE_MS);
    }

    @Override
    public void remote(int there, int here) throws Exception {
        session.setPortForwardingR("127.0.0.1", there, "127.0.0.1", here);
    }

    @Override
    public void close() {
        session.disconnect();
    }
}
