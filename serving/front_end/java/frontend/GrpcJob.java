package frontend;

import io.grpc.stub.StreamObserver;
import java.util.Map;
import org.pytorch.serve.grpc.inference.PredictionResponse;
import org.pytorch.serve.job.GRPCJob;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;

/** A gRPC request as it waits for a worker, which answers a handler's refusal with a status. In place of GRPCJob. */
public final class GrpcJob extends GRPCJob implements Sent {
    private static final String NEXT = RequestInput.TS_STREAM_NEXT;

    private final GrpcCount count;

    public GrpcJob(StreamObserver<PredictionResponse> observer, String model, String version, WorkerCommands command,
            RequestInput input) {
        super(observer, model, version, command, input);
        count = new GrpcCount(this, version);
        count.admit();
    }

    @Override
    public String getModelVersion() {
        return GrpcCount.version(count);
    }

    @Override
    public String peer() {
        return count.peer();
    }

    @Override
    public void refuse(Queue.NoPlace why) {
        count.refused(why);
        super.sendError(why.status(), why.getMessage());
    }

    @Override
    public void response(byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
        boolean stream = getCmd() != WorkerCommands.PREDICT;
        if (stream && "true".equals(headers.get(NEXT))) {
            super.response(body, type, status, phrase, headers);
            return;
        }
        count.served(body, status, headers);
        if (status >= 400) {
            super.sendError(status, GrpcCount.message(body));
            return;
        }
        if (stream) {
            headers.put(NEXT, "false"); // a handler that knows no streams does not say that it was its last message
        }
        super.response(body, type, status, phrase, headers);
    }

    @Override
    public void sendError(int status, String message) {
        count.failed(status, message);
        super.sendError(status, message);
    }
}
