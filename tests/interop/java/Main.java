import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Base64;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * One client library, told what to do line by line: `OPERATION ARGUMENT...`, every argument in
 * base64, answered by `ok RESULT...` or `failed MESSAGE`. It ends with its input.
 */
public final class Main {
    static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        var thread = new Thread(task);
        thread.setDaemon(true);
        return thread;
    });

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        var answers = System.out;
        var lines = new BufferedReader(new InputStreamReader(System.in));
        try (var client = connect(arguments)) {
            answers.println("ok");
            for (var line = lines.readLine(); line != null; line = lines.readLine()) {
                answers.println(answer(client, line.split(" ")));
            }
        }
        System.exit(0);
    }

    private static Client connect(String[] arguments) throws Exception {
        var port = Integer.parseInt(arguments[1]);
        return switch (arguments[0]) {
            case "sshj" -> new SshjClient(port, arguments[2], arguments[3]);
            case "mina" -> new MinaClient(port, arguments[2], arguments[3]);
            case "jsch" -> new JschClient(port, arguments[2], arguments[3]);
            default -> throw new IllegalArgumentException(arguments[0]);
        };
    }

    private static String answer(Client client, String[] words) {
        try {
            return "ok" + perform(client, words);
        } catch (Exception error) {
            error.printStackTrace();
            return "failed " + encoded(error.toString().getBytes());
        }
    }

    private static String perform(Client client, String[] words) throws Exception {
        switch (words[0]) {
            case "execute":
                return done(client.execute(text(words[1]), decoded(words[2]), false));
            case "terminal":
                return done(client.execute(text(words[1]), new byte[0], true));
            case "together":
                return together(client, words);
            case "upload":
                client.upload(text(words[1]), text(words[2]));
                return "";
            case "download":
                client.download(text(words[1]), text(words[2]));
                return "";
            case "local":
                return number(client.local(Integer.parseInt(text(words[1]))));
            case "local_unix":
                return number(client.localUnix(text(words[1])));
            case "remote":
                client.remote(Integer.parseInt(text(words[1])), Integer.parseInt(text(words[2])));
                return "";
            case "dynamic":
                return number(client.dynamic());
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    /** All commands at once, each in a channel of its own. */
    private static String together(Client client, String[] words) throws Exception {
        var running = new ArrayList<Future<Client.Done>>();
        for (var place = 1; place < words.length; place++) {
            var command = text(words[place]);
            running.add(THREADS.submit(() -> client.execute(command, new byte[0], false)));
        }
        var results = new StringBuilder();
        for (var one : running) {
            results.append(done(one.get()));
        }
        return results.toString();
    }

    private static String done(Client.Done done) {
        return number(done.status()) + " " + encoded(done.out()) + " " + encoded(done.err());
    }

    private static String number(int number) {
        return " " + encoded(Integer.toString(number).getBytes());
    }

    /** A dot in front keeps an empty argument visible. */
    private static String encoded(byte[] data) {
        return "." + Base64.getEncoder().encodeToString(data);
    }

    private static byte[] decoded(String word) {
        return Base64.getDecoder().decode(word.substring(1));
    }

    private static String text(String word) {
        return new String(decoded(word));
    }
}
