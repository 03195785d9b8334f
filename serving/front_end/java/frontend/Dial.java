package frontend;

import io.netty.bootstrap.Bootstrap;
import io.netty.channel.ChannelFuture;
import java.net.SocketAddress;

/** Connects to a worker, and tells {@link Sending} the connection. WorkerThread makes it in place of a Bootstrap. */
public final class Dial extends Bootstrap {
    @Override
    public ChannelFuture connect(SocketAddress worker) {
        ChannelFuture connected = super.connect(worker);
        Sending.over(connected.channel());
        return connected;
    }
}
