package frontend;

import io.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.Status;
import org.pytorch.serve.grpcimpl.GRPCInterceptor;
import org.pytorch.serve.util.ConnectorType;

/** TorchServe's interceptor, which checks the token, before a {@link GrpcCall} that counts what the call sends. */
public final class GrpcGuard extends GRPCInterceptor {
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    // As over HTTP. It also tells a client a full server's UNAVAILABLE from its own library's, which had no connection.
    private static final Metadata.Key<String> RETRY_AFTER =
            Metadata.Key.of("retry-after", Metadata.ASCII_STRING_MARSHALLER);

    private final boolean inference;

    public GrpcGuard(ConnectorType connector) {
        super(connector);
        inference = connector == ConnectorType.INFERENCE_CONNECTOR;
    }

    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(ServerCall<A, B> call, Metadata headers,
            ServerCallHandler<A, B> next) {
        GrpcCall ours = GrpcCall.current();
        ServerCall<A, B> once = new ClosedOnce<>(call, inference ? ours : null);
        ours.begin(once, Peer.of(call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR)), inference);
        ServerCallHandler<A, B> opened = (allowed, given) -> {
            ours.opens(given);
            return counted(ours, next.startCall(allowed, given));
        };
        boolean mounted = inference && MountedTokens.hold(headers.get(AUTHORIZATION));
        return mounted ? opened.startCall(once, headers) : super.interceptCall(once, headers, opened);
    }

    private static <A> ServerCall.Listener<A> counted(GrpcCall ours, ServerCall.Listener<A> listener) {
        return new SimpleForwardingServerCallListener<A>(listener) {
            @Override
            public void onMessage(A message) {
                ours.hand(() -> super.onMessage(message));
            }

            @Override
            public void onHalfClose() {
                ours.hand(super::onHalfClose);
                ours.isWhole();
            }
        };
    }

    /** Two threads may close a call, gRPC's while a message arrives and TorchServe's: the first does. */
    private static final class ClosedOnce<A, B> extends SimpleForwardingServerCall<A, B> {
        private final GrpcCall counted; // null for a call to the management API
        private boolean closed;

        ClosedOnce(ServerCall<A, B> call, GrpcCall counted) {
            super(call);
            this.counted = counted;
        }

        @Override
        public synchronized void sendHeaders(Metadata headers) {
            if (!closed) {
                super.sendHeaders(headers);
            }
        }

        @Override
        public synchronized void sendMessage(B message) {
            if (!closed) {
                super.sendMessage(message);
            }
        }

        @Override
        public synchronized void close(Status status, Metadata trailers) {
            if (!closed) {
                closed = true;
                Status given = mended(status);
                if (counted != null) {
                    counted.answers(given, trailers);
                }
                if (given.getCode() == Status.Code.UNAVAILABLE) {
                    trailers.put(RETRY_AFTER, Settings.RETRY_AFTER_S);
                }
                super.close(given, trailers);
            }
        }
    }

    /** The true status for what TorchServe calls INTERNAL, and for a caller that it does not know. */
    private static Status mended(Status status) {
        String text = String.valueOf(status.getDescription());
        if (status.getCode() == Status.Code.PERMISSION_DENIED && text.startsWith(Access.DENIED)) {
            return Status.UNAUTHENTICATED.withDescription(
                    Access.DENIED + "; send the metadata authorization: Bearer <token>.");
        }
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
