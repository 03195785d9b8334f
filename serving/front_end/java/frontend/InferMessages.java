package frontend;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.UnsafeByteOperations;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.IOException;
import java.io.InputStream;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferRequest;

/** Reads the messages that are ModelInferRequests, once {@link InferFields} has bounded what they take of memory. */
final class InferMessages implements MethodDescriptor.Marshaller<InferInput> {
    @Override
    public InputStream stream(InferInput never) {
        throw new UnsupportedOperationException("A server sends no requests.");
    }

    /** A message that is refused closes its call. What is returned then goes no further. */
    @Override
    public InferInput parse(InputStream stream) {
        try {
            byte[] bytes = stream.readAllBytes();
            new InferFields(bytes).check();
            CodedInputStream input = UnsafeByteOperations.unsafeWrap(bytes).newCodedInput();
            input.enableAliasing(true); // tensors are copied once, by InferInput
            return new InferInput(ModelInferRequest.parseFrom(input));
        } catch (InferFields.TooMany many) {
            return refused(Status.RESOURCE_EXHAUSTED.withDescription(many.getMessage()));
        } catch (IOException malformed) {
            return refused(Status.INVALID_ARGUMENT.withDescription("The message is no ModelInferRequest."));
        }
    }

    private static InferInput refused(Status why) {
        GrpcCall.current().refuse(why);
        return new InferInput(ModelInferRequest.getDefaultInstance());
    }
}
