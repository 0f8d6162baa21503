import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import org.apache.sshd.client.SshClient;
import org.apache.sshd.client.channel.ClientChannelEvent;
import org.apache.sshd.client.session.ClientSession;
import org.apache.sshd.common.config.keys.KeyUtils;
import org.apache.sshd.common.util.net.SshdSocketAddress;
import org.apache.sshd.server.forward.AcceptAllForwardingFilter;
import org.apache.sshd.sftp.client.SftpClientFactory;

/** Apache MINA sshd-core and sshd-sftp. */
final class MinaClient implements Client {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private final SshClient client = SshClient.setUpDefaultClient();
    private final ClientSession session;

    MinaClient(int port, String fingerprint, String hostKey) throws Exception {
        client.setServerKeyVerifier(
                (session, address, key) -> KeyUtils.getFingerPrint(key).equals(fingerprint));
        client.setForwardingFilter(AcceptAllForwardingFilter.INSTANCE);
        client.start();
        session = client.connect("anybody", "127.0.0.1", port).verify(PATIENCE).getSession();
        session.addPasswordIdentity("any");
        session.auth().verify(PATIENCE);
    }

    @Override
    public Done execute(String command, byte[] input, boolean terminal) throws Exception {
        var out = new ByteArrayOutputStream();
        var err = new ByteArrayOutputStream();
        try (var channel = session.createExecChannel(command)) {
            channel.setUsePty(terminal);
            channel.setIn(new ByteArrayInputStream(input));
            channel.setOut(out);
            channel.setErr(err);
            channel.open().verify(PATIENCE);
            channel.waitFor(EnumSet.of(ClientChannelEvent.CLOSED), PATIENCE);
            return new Done(channel.getExitStatus(), out.toByteArray(), err.toByteArray());
        }
    }

    @Override
    public void upload(String here, String there) throws Exception {
        try (var files = SftpClientFactory.instance().createSftpClient(session);
                var to = files.write(there)) {
            Files.copy(Path.of(here), to);
        }
    }

    @Override
    public void download(String there, String here) throws Exception {
        try (var files = SftpClientFactory.instance().createSftpClient(session);
                var from = files.read(there)) {
            Files.copy(from, Path.of(here));
        }
    }

    @Override
    public int local(int there) throws Exception {
        return session.startLocalPortForwarding(
                new SshdSocketAddress("127.0.0.1", 0),
                new SshdSocketAddress("127.0.0.1", there)).getPort();
    }

    @Override
    public void remote(int there, int here) throws Exception {
        session.startRemotePortForwarding(
                new SshdSocketAddress("127.0.0.1", there),
                new SshdSocketAddress("127.0.0.1", here));
    }

    @Override
    public int dynamic() throws Exception {
        return session.startDynamicPortForwarding(
                new SshdSocketAddress("127.0.0.1", 0)).getPort();
    }

    @Override
    public void close() throws Exception {
        session.close();
        client.close();
    }
}
