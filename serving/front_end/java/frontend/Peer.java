package frontend;

import java.net.InetSocketAddress;
import java.net.SocketAddress;

/** The address of a client, as {@link Queue}, {@link Budget} and {@link Connections} count it. */
final class Peer {
    private Peer() {}

    static String of(SocketAddress address) {
        return address instanceof InetSocketAddress
                ? ((InetSocketAddress) address).getAddress().getHostAddress() : "";
    }
}
