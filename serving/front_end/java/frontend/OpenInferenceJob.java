package frontend;

import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import java.util.Map;
import java.util.function.BiFunction;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.GRPCUtils;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A request of the Open Inference Protocol over gRPC as it waits for a worker, whose answer becomes a message {@code A}. */
final class OpenInferenceJob<A> extends Job implements Sent {
    private static final Logger LOGGER = LoggerFactory.getLogger(OpenInferenceJob.class);

    private final ServerCallStreamObserver<A> client;
    private final BiFunction<byte[], Map<String, String>, A> read;
    private final GrpcCount count;

    /** {@code read} makes a message of an answer's body and headers. Throws NoPlace where the queue has no place. */
    OpenInferenceJob(ServerCallStreamObserver<A> client, String model, String version, RequestInput input,
            BiFunction<byte[], Map<String, String>, A> read) {
        super(model, version, WorkerCommands.PREDICT, input);
        this.client = client;
        this.read = read;
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
        fail(Status.UNAVAILABLE, why.getMessage());
    }

    @Override
    public void response(byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
        count.served(body, status, headers);
        if (status >= 400) {
            fail(GRPCUtils.getGRPCStatusCode(status), GrpcCount.message(body));
            return;
        }
        A message;
        try {
            message = read.apply(body, headers);
        } catch (RuntimeException other) { // no message of it in the log, since that may quote the answer
            LOGGER.error("{} answers in another form than the Open Inference Protocol's: {}", getModelName(),
                    other.getClass().getName());
            fail(Status.INTERNAL, "This model's handler does not speak the Open Inference Protocol.");
            return;
        }
        if (isOpen()) {
            client.onNext(message);
            client.onCompleted();
        }
    }

    @Override
    public void sendError(int status, String message) {
        count.failed(status, message);
        fail(GRPCUtils.getGRPCStatusCode(status), message);
    }

    private void fail(Status status, String message) {
        if (isOpen()) {
            client.onError(status.withDescription(message).asRuntimeException());
        }
    }

    @Override
    public boolean isOpen() {
        return !client.isCancelled();
    }
}
