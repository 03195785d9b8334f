package frontend;

import com.google.gson.JsonObject;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.Model;

/**
 * A copy of a request for another version, and the answer that the client got. No client gets the copy's answer.
 * It shares the request's bytes. Its {@link Mirror} counts what it holds.
 */
final class Copy extends Job {
    private static final int OWN_BYTES = 1_024; // of a copy without its request and answers

    private final Mirror mirror;
    private final Model model;
    private long size = OWN_BYTES;
    private byte[] old; // null until the client is answered
    private byte[] body; // null until the copy is answered
    private int status;
    private double oldMs;
    private double ms;

    Copy(Mirror mirror, Model model, RequestInput request) {
        super(model.getModelName(), model.getVersion(), WorkerCommands.PREDICT, copied(request));
        this.mirror = mirror;
        this.model = model;
        request.getParameters().forEach(each -> size += each.getValue().length);
    }

    private static RequestInput copied(RequestInput request) {
        RequestInput input = new RequestInput(UUID.randomUUID().toString());
        input.setHeaders(new HashMap<>(request.getHeaders()));
        input.setParameters(List.copyOf(request.getParameters()));
        return input;
    }

    /** The request is in its queue: the copy may follow. */
    void send() {
        if (!Queue.addToEmpty(model, this)) {
            mirror.skip(this);
        }
    }

    /** The client gets no answer of a worker. */
    void drop() {
        mirror.skip(this);
    }

    /** The client is answered. Answers of errors are compared with nothing. */
    void clientGets(int code, byte[] answer, long at) {
        if (code != 200) {
            drop();
            return;
        }
        synchronized (mirror) {
            old = answer;
            oldMs = millis(at);
            mirror.answers(this, answer.length);
        }
    }

    @Override
    public void response(byte[] answer, CharSequence type, int code, String phrase, Map<String, String> headers) {
        long at = System.nanoTime();
        if (Kind.ofAnswer(code, answer) == Kind.BUSY) { // no time beside others of its batch
            drop();
            return;
        }
        synchronized (mirror) {
            ends(code, answer, at);
        }
    }

    /** The worker has failed. */
    @Override
    public void sendError(int code, String message) {
        long at = System.nanoTime();
        synchronized (mirror) {
            ends(code, new byte[0], at);
        }
    }

    private void ends(int code, byte[] answer, long at) {
        if (body == null) { // the first part of a stream counts
            body = answer;
            status = code;
            ms = millis(at);
            mirror.answers(this, answer.length);
        }
    }

    private double millis(long at) {
        return (at - getBegin()) / (double) TimeUnit.MILLISECONDS.toNanos(1);
    }

    boolean isWhole() {
        return old != null && body != null;
    }

    long size() {
        return size;
    }

    void grow(int bytes) {
        size += bytes;
    }

    /** Both answers, as make rollout reads them. */
    JsonObject shown() {
        JsonObject said = new JsonObject();
        said.addProperty("status", status);
        said.addProperty("old", Base64.getEncoder().encodeToString(old));
        said.addProperty("new", Base64.getEncoder().encodeToString(body));
        said.addProperty("old_ms", oldMs);
        said.addProperty("new_ms", ms);
        return said;
    }

    @Override
    public boolean isOpen() {
        return true;
    }
}
