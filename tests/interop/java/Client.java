/** What the table of operations asks of an SSH client library. One connection for all of it. */
interface Client extends AutoCloseable {
    /** How a command ended. */
    record Done(int status, byte[] out, byte[] err) {}

    Done execute(String command, byte[] input, boolean terminal) throws Exception;

    void upload(String here, String there) throws Exception;

    void download(String there, String here) throws Exception;

    /** A local port that leads to a port of the box. */
    int local(int there) throws Exception;

    /** A local port that leads to a unix socket of the box. */
    default int localUnix(String there) throws Exception {
        throw new UnsupportedOperationException();
    }

    /** A port of the box that leads to a local one. */
    void remote(int there, int here) throws Exception;

    /** A local SOCKS port. */
    default int dynamic() throws Exception {
        throw new UnsupportedOperationException();
    }
}
