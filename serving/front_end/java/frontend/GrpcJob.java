package frontend;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.grpc.stub.StreamObserver;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.pytorch.serve.grpc.inference.PredictionResponse;
import org.pytorch.serve.job.GRPCJob;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;

/** A gRPC request as it waits for a worker, which answers a handler's refusal with a status. In place of GRPCJob. */
public final class GrpcJob extends GRPCJob implements Sent {
    private final String peer;
    private final Series model; // null where TorchServe knows no such model
    private volatile boolean answered;

    public GrpcJob(StreamObserver<PredictionResponse> observer, String model, String version, WorkerCommands command,
            RequestInput input) {
        super(observer, model, version, command, input);
        GrpcCall call = GrpcCall.current();
        peer = call.peer();
        this.model = Series.of(model, version);
        Queue.admit(this);
        call.holds(this);
    }

    @Override
    public String peer() {
        return peer;
    }

    Series series() {
        return model;
    }

    /** Whether it has its answer, and that is counted. */
    boolean isAnswered() {
        return answered;
    }

    @Override
    public void refuse(Queue.NoPlace why) {
        count(why.status(), why.kind());
        super.sendError(why.status(), why.getMessage());
    }

    @Override
    public void response(byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
        if (model != null) {
            model.served(status, getScheduled() - getBegin(), headers);
        }
        count(status, Kind.ofAnswer(status, body));
        if (status >= 400 && getCmd() == WorkerCommands.PREDICT) {
            super.sendError(status, message(new String(body, StandardCharsets.UTF_8)));
        } else {
            super.response(body, type, status, phrase, headers);
        }
    }

    @Override
    public void sendError(int status, String message) {
        count(status, Kind.ofFailure(status, message));
        super.sendError(status, message);
    }

    private void count(int status, Kind why) {
        answered = true;
        if (model != null) {
            model.answered(status, System.nanoTime() - getBegin());
        }
        if (why != null) {
            Metrics.error(model, why);
        }
    }

    private static String message(String body) {
        try {
            JsonObject refusal = JsonParser.parseString(body).getAsJsonObject();
            return refusal.get("message").getAsString();
        } catch (JsonParseException | IllegalStateException | NullPointerException other) {
            return body; // an archive that was not built here answers as it likes
        }
    }
}
