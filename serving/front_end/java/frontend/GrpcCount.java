package frontend;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.pytorch.serve.job.Job;

/**
 * The facts of a gRPC call's job besides its input: its sender, the version that answers it, and its counts.
 * It is counted once, with the first answer to its client.
 */
final class GrpcCount {
    private final Job job;
    private final GrpcCall call = GrpcCall.current();
    private final String peer = call.peer();
    private final String pinned; // the version that answers it, whatever the default becomes meanwhile
    private final Series model; // null where TorchServe knows no such model
    private volatile boolean answered;
    private volatile int status;
    private volatile Kind kind;
    private volatile Served served;

    GrpcCount(Job job, String version) {
        this.job = job;
        pinned = Series.version(job.getModelName(), version);
        model = Series.of(job.getModelName(), pinned);
    }

    /** The version of a job with this count. Null, as TorchServe made it, until the job's constructor has one. */
    static String version(GrpcCount count) {
        return count == null ? null : count.pinned;
    }

    /** The job, which has this count by now, takes its place in the queue. Throws NoPlace where there is none. */
    void admit() {
        Queue.admit(job);
        call.holds(job, this);
    }

    String peer() {
        return peer;
    }

    Series series() {
        return model;
    }

    /** Whether the job has its answer, and that is counted. */
    boolean isAnswered() {
        return answered;
    }

    /** The status that the call would have got over HTTP, once it is answered. */
    int status() {
        return status;
    }

    /** Why there is no model's answer, or null. */
    Kind kind() {
        return kind;
    }

    /** What a worker says of it, or null. */
    Served served() {
        return served;
    }

    /** A worker answered. Takes what is not for clients from the headers. */
    void served(byte[] body, int code, Map<String, String> headers) {
        served = Served.of(job, headers);
        if (model != null) {
            model.served(code, served.waited(), headers);
        }
        count(code, Kind.ofAnswer(code, body));
    }

    /** TorchServe sends its own message in place of a worker's answer. */
    void failed(int code, String message) {
        count(code, Kind.ofFailure(code, message));
    }

    void refused(Queue.NoPlace why) {
        count(why.status(), why.kind());
    }

    private void count(int code, Kind why) {
        if (answered) {
            return;
        }
        status = code;
        kind = why;
        answered = true;
        if (model != null) {
            model.answered(code, System.nanoTime() - job.getBegin());
        }
        if (why != null) {
            Metrics.error(model, why);
        }
    }

    /** The sentence of a handler's refusal. */
    static String message(byte[] body) {
        String text = new String(body, StandardCharsets.UTF_8);
        try {
            JsonObject refusal = JsonParser.parseString(text).getAsJsonObject();
            return refusal.get("message").getAsString();
        } catch (JsonParseException | IllegalStateException | NullPointerException other) {
            return text; // an archive that was not built here answers as it likes
        }
    }
}
