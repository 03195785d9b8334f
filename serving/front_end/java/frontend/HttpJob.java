package frontend;

import io.netty.channel.ChannelHandlerContext;
import org.pytorch.serve.job.RestJob;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;

/** A request as it waits for a worker; one that knows its sender. ApiUtils makes it in place of a RestJob. */
public final class HttpJob extends RestJob {
    private final String peer;

    public HttpJob(ChannelHandlerContext context, String model, String version, WorkerCommands command,
            RequestInput input) {
        super(context, model, version, command, input);
        Gate gate = Gate.of(context);
        peer = gate.peer();
        Queue.admit(this);
        gate.holds(this);
    }

    String peer() {
        return peer;
    }
}
