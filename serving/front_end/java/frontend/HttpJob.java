package frontend;

import io.netty.channel.ChannelHandlerContext;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.job.RestJob;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;

/** A request as it waits for a worker; one that knows its sender. ApiUtils makes it in place of a RestJob. */
public final class HttpJob extends RestJob implements Sent {
    /** Tells a client which version answered. */
    private static final String VERSION = "x-model-version";

    private final ChannelHandlerContext context;
    private final Gate gate;
    private final String peer;
    private final String pinned; // the version that answers it, whatever the default becomes meanwhile
    private final Series model; // null where TorchServe knows no such model
    private Copy copy; // for another version, or null
    private Kind kind;
    private Served served;

    public HttpJob(ChannelHandlerContext context, String model, String version, WorkerCommands command,
            RequestInput input) {
        super(context, model, version, command, input);
        this.context = context;
        pinned = Series.version(model, version);
        this.model = Series.of(model, pinned);
        if (context == null) { // a step of a workflow
            gate = null;
            peer = "";
            return;
        }
        gate = Gate.of(context);
        peer = gate.peer();
        gate.holds(this);
        requireDistinct(input);
        Queue.admit(this);
        copy = Mirror.of(this);
    }

    /** It is in its queue. */
    void isQueued() {
        Queue.settled(this);
        if (copy != null) {
            copy.send();
        }
    }

    /** The worker would see the last of several values of a name alone. */
    private static void requireDistinct(RequestInput input) {
        Set<String> names = new HashSet<>();
        if (!input.getParameters().stream().map(InputParameter::getName).allMatch(names::add)) {
            throw new BadRequestException(
                    "The request has a field twice; send each once, and several items as a list in JSON.");
        }
    }

    /** Null, as TorchServe made it, until the constructor knows better. */
    @Override
    public String getModelVersion() {
        return pinned;
    }

    @Override
    public String peer() {
        return peer;
    }

    Series series() {
        return model;
    }

    /** What its worker says of it, or null. */
    Served served() {
        return served;
    }

    /** Why its worker has no answer, or null. */
    Kind kind() {
        return kind;
    }

    @Override
    public void refuse(Queue.NoPlace why) {
        dropCopy();
        if (context == null) {
            super.sendError(why.status(), why.getMessage());
        } else {
            context.executor().execute(() -> gate.noPlace(context, why));
        }
    }

    @Override
    public void response(byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
        long now = System.nanoTime();
        kind = Kind.ofAnswer(status, body);
        served = Served.of(this, headers);
        if (model != null) {
            model.served(status, served.waited(), headers);
        }
        if (headers != null && pinned != null) {
            headers.put(VERSION, pinned);
        }
        super.response(body, type, status, phrase, headers);
        if (copy != null) {
            copy.clientGets(status, body, now);
        }
    }

    @Override
    public void sendError(int status, String message) {
        kind = Kind.ofFailure(status, message);
        dropCopy();
        super.sendError(status, message);
    }

    private void dropCopy() {
        if (copy != null) {
            copy.drop();
        }
    }
}
