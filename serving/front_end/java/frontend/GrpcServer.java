package frontend;

import io.grpc.ForwardingServerBuilder;
import io.grpc.ServerBuilder;
import io.grpc.ServerInterceptors;
import io.grpc.ServerServiceDefinition;
import io.grpc.ServerStreamTracer;
import io.grpc.Metadata;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.net.SocketAddress;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.grpc.inference.InferenceAPIsServiceGrpc;
import org.pytorch.serve.grpc.openinference.GRPCInferenceServiceGrpc;
import org.pytorch.serve.util.ConnectorType;

/** ModelServer builds its gRPC servers with this in place of a NettyServerBuilder: their bytes and connections count. */
public final class GrpcServer extends ForwardingServerBuilder<GrpcServer> {
    private final NettyServerBuilder builder;

    private GrpcServer(NettyServerBuilder builder) {
        this.builder = builder;
    }

    public static GrpcServer forAddress(SocketAddress address) {
        NettyServerBuilder builder = NettyServerBuilder.forAddress(address);
        builder.addStreamTracerFactory(new ServerStreamTracer.Factory() {
            @Override
            public ServerStreamTracer newServerStreamTracer(String method, Metadata headers) {
                return new GrpcCall(headers);
            }
        });
        builder.protocolNegotiator(new GrpcDoor()); // TLS, where it is configured, replaces it
        builder.maxConcurrentCallsPerConnection(Settings.CALLS);
        builder.handshakeTimeout(Settings.SILENCE_S, TimeUnit.SECONDS);
        builder.maxConnectionIdle(Settings.REQUEST_S, TimeUnit.SECONDS);
        return new GrpcServer(builder);
    }

    @Override
    protected ServerBuilder<?> delegate() {
        return builder;
    }

    // What ModelServer calls, with the types that it calls it by.

    @Override
    public GrpcServer maxConnectionAge(long age, TimeUnit unit) {
        return super.maxConnectionAge(age, unit);
    }

    @Override
    public GrpcServer maxConnectionAgeGrace(long grace, TimeUnit unit) {
        return super.maxConnectionAgeGrace(grace, unit);
    }

    /** Adds the Open Inference Protocol beside TorchServe's inference API, and never TorchServe's own service for it. */
    @Override
    public GrpcServer addService(ServerServiceDefinition service) {
        String name = service.getServiceDescriptor().getName();
        if (name.equals(GRPCInferenceServiceGrpc.SERVICE_NAME)) { // TS_OPEN_INFERENCE_PROTOCOL asks for it
            return this;
        }
        if (name.equals(InferenceAPIsServiceGrpc.SERVICE_NAME)) {
            super.addService(ServerInterceptors.intercept(
                    new OpenInferenceCalls(), new GrpcGuard(ConnectorType.INFERENCE_CONNECTOR)));
        }
        return super.addService(service);
    }

    /** GrpcCall knows the bound too, and says so: gRPC would reset the stream of a message too large without a word. */
    @Override
    public GrpcServer maxInboundMessageSize(int bytes) {
        return super.maxInboundMessageSize(Integer.MAX_VALUE);
    }
}
