package frontend;

import io.grpc.BindableService;
import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.BiFunction;
import java.util.function.Supplier;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.grpc.openinference.GRPCInferenceServiceGrpc;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelMetadataRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelMetadataResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelReadyRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelReadyResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerLiveRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerLiveResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerMetadataRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerMetadataResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerReadyRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ServerReadyResponse;
import org.pytorch.serve.metrics.IMetric;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.util.ApiUtils;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/**
 * The Open Inference Protocol over gRPC, with TorchServe's messages. TorchServe's own service has a name that no client
 * of the protocol calls, hands the worker JSON of another form than over REST, and ignores the queue's shares.
 */
final class OpenInferenceCalls implements BindableService {
    private static final String NAME = "inference.GRPCInferenceService";

    @Override
    public ServerServiceDefinition bindService() {
        return ServerServiceDefinition.builder(NAME)
                .addMethod(named(GRPCInferenceServiceGrpc.getServerLiveMethod()), ServerCalls.asyncUnaryCall(this::live))
                .addMethod(named(GRPCInferenceServiceGrpc.getServerReadyMethod()), ServerCalls.asyncUnaryCall(this::ready))
                .addMethod(named(GRPCInferenceServiceGrpc.getModelReadyMethod()),
                        ServerCalls.asyncUnaryCall(this::modelReady))
                .addMethod(named(GRPCInferenceServiceGrpc.getServerMetadataMethod()),
                        ServerCalls.asyncUnaryCall(this::metadata))
                .addMethod(named(GRPCInferenceServiceGrpc.getModelMetadataMethod()),
                        ServerCalls.asyncUnaryCall(this::modelMetadata))
                .addMethod(named(GRPCInferenceServiceGrpc.getModelInferMethod()
                        .toBuilder(new InferMessages(), GRPCInferenceServiceGrpc.getModelInferMethod().getResponseMarshaller())
                        .build()), ServerCalls.asyncUnaryCall(this::infer))
                .build();
    }

    /** TorchServe's method under the protocol's name. */
    private static <A, B> MethodDescriptor<A, B> named(MethodDescriptor<A, B> method) {
        String name = MethodDescriptor.generateFullMethodName(NAME, method.getFullMethodName()
                .substring(method.getFullMethodName().lastIndexOf('/') + 1));
        return method.toBuilder().setFullMethodName(name).setSchemaDescriptor(null).build();
    }

    private void live(ServerLiveRequest request, StreamObserver<ServerLiveResponse> client) {
        say(client, ServerLiveResponse.newBuilder().setLive(true).build());
    }

    private void ready(ServerReadyRequest request, StreamObserver<ServerReadyResponse> client) {
        say(client, ServerReadyResponse.newBuilder().setReady(Workers.haveLoaded()).build());
    }

    private void metadata(ServerMetadataRequest request, StreamObserver<ServerMetadataResponse> client) {
        say(client, ServerMetadataResponse.newBuilder().setName(OpenInference.SERVER)
                .setVersion(ConfigManager.getInstance().getVersion()).addExtensions(OpenInference.EXTENSION).build());
    }

    private void modelReady(ModelReadyRequest request, StreamObserver<ModelReadyResponse> client) {
        attempt(client, () -> {
            boolean loaded = Workers.loaded(model(request.getName(), request.getVersion()));
            say(client, ModelReadyResponse.newBuilder().setReady(loaded).build());
        });
    }

    private void modelMetadata(ModelMetadataRequest request, StreamObserver<ModelMetadataResponse> client) {
        attempt(client, () -> ask(client, request.getName(), request.getVersion(), OpenInferenceCalls::description,
                (body, headers) -> InferOutput.metadata(body)));
    }

    private static RequestInput description() {
        RequestInput made = new RequestInput(UUID.randomUUID().toString());
        made.updateHeaders(OpenInference.WANTED, OpenInference.METADATA);
        made.addParameter(new InputParameter("body", new byte[0]));
        return made;
    }

    private void infer(InferInput input, StreamObserver<ModelInferResponse> client) {
        boolean raw = input.raw;
        attempt(client, () -> ask(client, input.model, input.version, input::request,
                (body, headers) -> InferOutput.inference(body, headers, raw)));
    }

    /** Puts a request into the model's queue. Throws StatusRuntimeException or, where the queue has no place, NoPlace. */
    private static <A> void ask(StreamObserver<A> client, String name, String given, Supplier<RequestInput> request,
            BiFunction<byte[], Map<String, String>, A> read) {
        ServerCallStreamObserver<A> observer = (ServerCallStreamObserver<A>) client;
        observer.setOnCancelHandler(() -> { }); // without one, an answer to a client that hung up throws
        Model model = model(name, given);
        GrpcCall.current().asks(Series.of(model));
        RequestInput input = request.get();
        input.setClientExpireTS(model.getClientTimeoutInMills());
        String version = version(given);
        count(name, version);
        try {
            if (!ModelManager.getInstance().addJob(new OpenInferenceJob<>(observer, name, version, input, read))) {
                throw Status.UNAVAILABLE.withDescription(
                        ApiUtils.getStreamingInferenceErrorResponseMessage(name, version)).asRuntimeException();
            }
        } catch (ModelException removed) {
            throw Status.NOT_FOUND.withDescription(removed.getMessage()).asRuntimeException();
        }
    }

    /** Counts a request in the way that TorchServe counts those to its own APIs. */
    private static void count(String model, String version) {
        IMetric metric = MetricCache.getInstance().getMetricFrontend("ts_inference_requests_total");
        if (metric != null) {
            String host = ConfigManager.getInstance().getHostName();
            metric.addOrUpdate(List.of(model, version == null ? "default" : version, host), 1);
        }
    }

    private static Model model(String name, String version) {
        if (name.isEmpty()) {
            throw Status.INVALID_ARGUMENT.withDescription("The request names no model.").asRuntimeException();
        }
        try {
            return OpenInference.registered(name, version(version));
        } catch (ModelException unknown) {
            throw Status.NOT_FOUND.withDescription(unknown.getMessage()).asRuntimeException();
        }
    }

    private static String version(String given) {
        return given.isEmpty() ? null : given;
    }

    private static void attempt(StreamObserver<?> client, Runnable step) {
        try {
            step.run();
        } catch (StatusRuntimeException refused) {
            client.onError(refused);
        }
    }

    private static <A> void say(StreamObserver<A> client, A message) {
        client.onNext(message);
        client.onCompleted();
    }
}
