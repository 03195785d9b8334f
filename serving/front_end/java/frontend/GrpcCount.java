package frontend;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.pytorch.serve.job.Job;

/** What is counted of a gRPC call's job: once, with the first thing that its client is told. */
final class GrpcCount {
    private final Job job;
    private final Series model; // null where TorchServe knows no such model
    private volatile boolean answered;

    GrpcCount(Job job) {
        this.job = job;
        model = Series.of(job.getModelName(), job.getModelVersion());
    }

    Series series() {
        return model;
    }

    /** Whether the job has its answer, and that is counted. */
    boolean isAnswered() {
        return answered;
    }

    /** A worker answered. Takes what is not for clients from the headers. */
    void served(byte[] body, int status, Map<String, String> headers) {
        if (model != null) {
            model.served(status, job.getScheduled() - job.getBegin(), headers);
        }
        count(status, Kind.ofAnswer(status, body));
    }

    /** TorchServe has this to say in place of a worker's answer. */
    void failed(int status, String message) {
        count(status, Kind.ofFailure(status, message));
    }

    void refused(Queue.NoPlace why) {
        count(why.status(), why.kind());
    }

    private void count(int status, Kind why) {
        if (answered) {
            return;
        }
        answered = true;
        if (model != null) {
            model.answered(status, System.nanoTime() - job.getBegin());
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
