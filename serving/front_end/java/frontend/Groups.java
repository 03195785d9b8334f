package frontend;

import io.netty.channel.EventLoopGroup;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.ServerGroups;

/**
 * The event loops of all ports, which end once no request is under way. ModelServer makes it in place of ServerGroups,
 * which closes all connections, also those that wait for an answer, and then waits two seconds for more requests.
 */
public final class Groups extends ServerGroups {
    private static final long CLOSE_MS = 500;

    public Groups(ConfigManager config) {
        super(config);
    }

    /** ModelServer calls it when the ports are closed. */
    @Override
    public void shutdown(boolean graceful) {
        EventLoopGroup clients = getChildGroup();
        try {
            Connections.finish();
            super.shutdown(false);
            clients.terminationFuture().await(CLOSE_MS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException stopping) {
            Thread.currentThread().interrupt();
        }
    }
}
