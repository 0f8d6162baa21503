import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import net.schmizz.sshj.SSHClient;
import net.schmizz.sshj.connection.channel.direct.LocalPortForwarder;
import net.schmizz.sshj.connection.channel.direct.Parameters;
import net.schmizz.sshj.connection.channel.forwarded.RemotePortForwarder;
import net.schmizz.sshj.connection.channel.forwarded.SocketForwardingConnectListener;

/** sshj. */
final class SshjClient implements Client {
    private final SSHClient client = new SSHClient();

    SshjClient(int port, String fingerprint, String hostKey) throws Exception {
        client.addHostKeyVerifier(fingerprint);
        client.connect("127.0.0.1", port);
        client.authPassword("anybody", "any");
    }

    @Override
    public Done execute(String command, byte[] input, boolean terminal) throws Exception {
        try (var session = client.startSession()) {
            if (terminal) {
                session.allocateDefaultPTY();
            }
            var running = session.exec(command);
            var out = reading(running.getInputStream());
            var err = reading(running.getErrorStream());
            if (input.length > 0) {
                try (var to = running.getOutputStream()) {
                    to.write(input);
                }
            }
            running.join(30, TimeUnit.SECONDS);
            return new Done(running.getExitStatus(), out.get(), err.get());
        }
    }

    private static CompletableFuture<byte[]> reading(InputStream from) {
        return CompletableFuture.supplyAsync(() -> {
            try {
                var all = new ByteArrayOutputStream();
                from.transferTo(all);
                return all.toByteArray();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }, Main.THREADS);
    }

    @Override
    public void upload(String here, String there) throws Exception {
        try (var files = client.newSFTPClient()) {
            files.put(here, there);
        }
    }

    @Override
    public void download(String there, String here) throws Exception {
        try (var files = client.newSFTPClient()) {
            files.get(there, here);
        }
    }

    @Override
    public int local(int there) throws Exception {
        var socket = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        var port = socket.getLocalPort();
        LocalPortForwarder forwarder = client.newLocalPortForwarder(
                new Parameters("127.0.0.1", port, "127.0.0.1", there), socket);
        Main.THREADS.submit(() -> {
            forwarder.listen();
            return null;
        });
        return port;
    }

    @Override
    public void remote(int there, int here) throws Exception {
        client.getRemotePortForwarder().bind(
                new RemotePortForwarder.Forward("127.0.0.1", there),
                new SocketForwardingConnectListener(new InetSocketAddress("127.0.0.1", here)));
    }

    @Override
    public void close() throws Exception {
        client.close();
    }
}
