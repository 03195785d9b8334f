package frontend;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.UnknownFieldSet;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.InferParameter;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferRequest;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferRequest.InferInputTensor;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferRequest.InferRequestedOutputTensor;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.util.messages.RequestInput;

/**
 * A ModelInferRequest in the form in which a worker reads it, which is that of REST: a JSON document, and behind it the
 * tensors, all of them binary. It keeps nothing of the message, so that a request is in memory once.
 */
final class InferInput {
    static final String JSON_LENGTH = "Inference-Header-Content-Length"; // also of an answer with binary tensors
    static final String BINARY_SIZE = "binary_data_size";
    private static final String BINARY_OUTPUT = "binary_data_output";
    private static final String PARAMETERS = "parameters";
    // Fields of InferParameter that later versions of the protocol have, and TorchServe's has not.
    private static final int DOUBLE = 4;
    private static final int UINT64 = 5;

    final String model;
    final String version;
    /** Whether the answer's tensors are to be raw: as the request's are, or as its parameter binary_data_output says. */
    final boolean raw;
    private StatusRuntimeException fault; // what is wrong with the request, or null
    private byte[] body;
    private int json; // bytes of the document, with which the body begins

    InferInput(ModelInferRequest request) {
        model = request.getModelName();
        version = request.getModelVersion();
        InferParameter said = request.getParametersMap().get(BINARY_OUTPUT);
        raw = said == null ? request.getRawInputContentsCount() > 0 : said.getBoolParam();
        try {
            List<ByteBuffer> tensors = tensors(request);
            byte[] document = document(request, tensors).toString().getBytes(StandardCharsets.UTF_8);
            json = document.length;
            body = joined(document, tensors);
        } catch (StatusRuntimeException wrong) {
            fault = wrong;
        }
    }

    /** The worker's request. Throws INVALID_ARGUMENT where none can be made. */
    RequestInput request() {
        if (fault != null) {
            throw fault;
        }
        RequestInput made = new RequestInput(UUID.randomUUID().toString());
        made.updateHeaders(OpenInference.WANTED, OpenInference.INFER);
        made.updateHeaders(JSON_LENGTH, String.valueOf(json));
        made.addParameter(new InputParameter("body", body, "application/octet-stream"));
        return made;
    }

    private static List<ByteBuffer> tensors(ModelInferRequest request) {
        int count = request.getInputsCount();
        int raws = request.getRawInputContentsCount();
        if (raws > 0 && raws != count) {
            throw wrong("raw_input_contents has " + raws + " entries for " + count + " inputs; send one for each.");
        }
        List<ByteBuffer> found = new ArrayList<>(count);
        for (int at = 0; at < count; at++) {
            InferInputTensor input = request.getInputs(at);
            if (raws > 0 && Contents.has(input.getContents())) {
                throw wrong("Input " + at + " has contents beside its raw_input_contents; send one of them.");
            }
            found.add(raws > 0 ? request.getRawInputContents(at).asReadOnlyByteBuffer()
                    : ByteBuffer.wrap(Contents.toBytes(input.getDatatype(), input.getContents(), "Input " + at)));
        }
        return found;
    }

    private static byte[] joined(byte[] document, List<ByteBuffer> tensors) {
        int length = tensors.stream().mapToInt(ByteBuffer::remaining).sum();
        ByteBuffer made = ByteBuffer.allocate(document.length + length).put(document);
        tensors.forEach(each -> made.put(each.duplicate()));
        return made.array();
    }

    private static JsonObject document(ModelInferRequest request, List<ByteBuffer> tensors) {
        JsonObject made = new JsonObject();
        if (!request.getId().isEmpty()) {
            made.addProperty("id", request.getId());
        }
        JsonObject parameters = parameters(request.getParametersMap());
        parameters.addProperty(BINARY_OUTPUT, true);
        made.add(PARAMETERS, parameters);
        JsonArray inputs = new JsonArray();
        for (int at = 0; at < tensors.size(); at++) {
            inputs.add(input(request.getInputs(at), tensors.get(at).remaining()));
        }
        made.add("inputs", inputs);
        JsonArray outputs = new JsonArray();
        request.getOutputsList().forEach(each -> outputs.add(output(each)));
        made.add("outputs", outputs);
        return made;
    }

    private static JsonObject input(InferInputTensor input, int bytes) {
        JsonObject made = new JsonObject();
        made.addProperty("name", input.getName());
        made.addProperty("datatype", input.getDatatype());
        JsonArray shape = new JsonArray();
        input.getShapeList().forEach(shape::add);
        made.add("shape", shape);
        JsonObject parameters = parameters(input.getParametersMap());
        parameters.addProperty(BINARY_SIZE, bytes);
        made.add(PARAMETERS, parameters);
        return made;
    }

    private static JsonObject output(InferRequestedOutputTensor output) {
        JsonObject made = new JsonObject();
        made.addProperty("name", output.getName());
        JsonObject parameters = parameters(output.getParametersMap());
        parameters.addProperty("binary_data", true);
        made.add(PARAMETERS, parameters);
        return made;
    }

    private static JsonObject parameters(Map<String, InferParameter> given) {
        JsonObject made = new JsonObject();
        given.forEach((name, value) -> made.add(name, value(value)));
        return made;
    }

    private static JsonElement value(InferParameter given) {
        UnknownFieldSet more = given.getUnknownFields();
        switch (given.getParameterChoiceCase()) {
            case BOOL_PARAM:
                return new JsonPrimitive(given.getBoolParam());
            case INT64_PARAM:
                return new JsonPrimitive(given.getInt64Param());
            case STRING_PARAM:
                return new JsonPrimitive(given.getStringParam());
            default:
                break;
        }
        if (!more.getField(DOUBLE).getFixed64List().isEmpty()) {
            double number = Double.longBitsToDouble(more.getField(DOUBLE).getFixed64List().get(0));
            return Double.isFinite(number) ? new JsonPrimitive(number) : JsonNull.INSTANCE;
        }
        List<Long> unsigned = more.getField(UINT64).getVarintList();
        return unsigned.isEmpty() ? JsonNull.INSTANCE // of a kind that is not known here: no option takes null
                : new JsonPrimitive(new BigInteger(Long.toUnsignedString(unsigned.get(0))));
    }

    private static StatusRuntimeException wrong(String what) {
        return Status.INVALID_ARGUMENT.withDescription(what).asRuntimeException();
    }
}
