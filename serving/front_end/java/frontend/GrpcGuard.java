package frontend;

import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.Status;
import org.pytorch.serve.grpcimpl.GRPCInterceptor;
import org.pytorch.serve.util.ConnectorType;

/** TorchServe's interceptor, which checks the token, with true statuses for what it calls INTERNAL. */
public final class GrpcGuard extends GRPCInterceptor {
    public GrpcGuard(ConnectorType connector) {
        super(connector);
    }

    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(ServerCall<A, B> call, Metadata headers,
            ServerCallHandler<A, B> next) {
        return super.interceptCall(new SimpleForwardingServerCall<A, B>(call) {
            @Override
            public void close(Status status, Metadata trailers) {
                super.close(mended(status), trailers);
            }
        }, headers, next);
    }

    private static Status mended(Status status) {
        String text = String.valueOf(status.getDescription());
        if (status.getCode() != Status.Code.INTERNAL) {
            return status;
        }
        if (text.contains("retry after")) {
            return Status.UNAVAILABLE.withDescription(text);
        }
        if (text.contains("NotFoundException") || text.startsWith("Model not found")) {
            return Status.NOT_FOUND.withDescription(text);
        }
        return text.contains("BadRequestException") ? Status.INVALID_ARGUMENT.withDescription(text) : status;
    }
}
