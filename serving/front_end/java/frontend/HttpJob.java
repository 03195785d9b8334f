package frontend;

import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.HttpResponseStatus;
import java.util.HashSet;
import java.util.Set;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.job.RestJob;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;

/** A request as it waits for a worker; one that knows its sender. ApiUtils makes it in place of a RestJob. */
public final class HttpJob extends RestJob implements Sent {
    private final ChannelHandlerContext context;
    private final Gate gate;
    private final String peer;

    public HttpJob(ChannelHandlerContext context, String model, String version, WorkerCommands command,
            RequestInput input) {
        super(context, model, version, command, input);
        this.context = context;
        if (context == null) { // a step of a workflow
            gate = null;
            peer = "";
            return;
        }
        requireDistinct(input);
        gate = Gate.of(context);
        peer = gate.peer();
        Queue.admit(this);
        gate.holds(this);
    }

    /** The worker would see the last of several values of a name alone. */
    private static void requireDistinct(RequestInput input) {
        Set<String> names = new HashSet<>();
        if (!input.getParameters().stream().map(InputParameter::getName).allMatch(names::add)) {
            throw new BadRequestException(
                    "The request has a field twice; send each once, and several items as a list in JSON.");
        }
    }

    @Override
    public String peer() {
        return peer;
    }

    /** Worker errors too come this way, but where a 503 comes before a worker has seen the request. */
    @Override
    public void sendError(int status, String message) {
        if (context != null && status == HttpResponseStatus.SERVICE_UNAVAILABLE.code() && getScheduled() == getBegin()) {
            context.executor().execute(() -> gate.noPlace(context, message));
        } else {
            super.sendError(status, message);
        }
    }
}
