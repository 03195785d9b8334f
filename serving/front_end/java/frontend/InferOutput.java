package frontend;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.InferParameter;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelInferResponse.InferOutputTensor;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelMetadataResponse;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.ModelMetadataResponse.TensorMetadata;

/** A worker's answers, which have the form that they have over REST, as messages. Each throws a RuntimeException for another form. */
final class InferOutput {
    static final String FACT = "x-"; // the beginning of the headers that are for clients

    private InferOutput() {}

    /** The answer to an inference. The headers of REST ("x-variant") are its parameters. */
    static ModelInferResponse inference(byte[] body, Map<String, String> headers, boolean raw) {
        int at = jsonLength(headers, body.length);
        JsonObject document = object(body, at);
        ModelInferResponse.Builder made = ModelInferResponse.newBuilder()
                .setModelName(text(document, "model_name")).setModelVersion(text(document, "model_version"));
        if (document.has("id")) {
            made.setId(text(document, "id"));
        }
        for (JsonElement each : document.getAsJsonArray("outputs")) {
            JsonObject output = each.getAsJsonObject();
            int size = output.getAsJsonObject("parameters").get(InferInput.BINARY_SIZE).getAsInt();
            add(made, output, ByteBuffer.wrap(body, at, size).order(ByteOrder.LITTLE_ENDIAN), raw);
            at += size;
        }
        if (at != body.length) {
            throw new IllegalStateException("bytes follow the tensors");
        }
        headers.forEach((name, value) -> {
            if (name.startsWith(FACT)) {
                made.putParameters(name, InferParameter.newBuilder().setStringParam(value).build());
            }
        });
        return made.build();
    }

    private static void add(ModelInferResponse.Builder made, JsonObject output, ByteBuffer data, boolean raw) {
        InferOutputTensor.Builder tensor = InferOutputTensor.newBuilder()
                .setName(text(output, "name")).setDatatype(text(output, "datatype"));
        output.getAsJsonArray("shape").forEach(each -> tensor.addShape(each.getAsLong()));
        if (raw) {
            made.addRawOutputContents(ByteString.copyFrom(data));
        } else {
            tensor.setContents(Contents.valueOf(tensor.getDatatype()).fromBytes(data));
        }
        made.addOutputs(tensor);
    }

    /** A model's description. */
    static ModelMetadataResponse metadata(byte[] body) {
        JsonObject document = object(body, body.length);
        ModelMetadataResponse.Builder made = ModelMetadataResponse.newBuilder()
                .setName(text(document, "name")).setPlatform(text(document, "platform"));
        document.getAsJsonArray("versions").forEach(each -> made.addVersions(each.getAsString()));
        document.getAsJsonArray("inputs").forEach(each -> made.addInputs(tensor(each.getAsJsonObject())));
        document.getAsJsonArray("outputs").forEach(each -> made.addOutputs(tensor(each.getAsJsonObject())));
        return made.build();
    }

    private static TensorMetadata tensor(JsonObject described) {
        TensorMetadata.Builder made = TensorMetadata.newBuilder()
                .setName(text(described, "name")).setDatatype(text(described, "datatype"));
        described.getAsJsonArray("shape").forEach(each -> made.addShape(each.getAsLong()));
        return made.build();
    }

    private static int jsonLength(Map<String, String> headers, int whole) {
        String given = headers.get(InferInput.JSON_LENGTH);
        return given == null ? whole : Integer.parseInt(given); // none where the model has no outputs
    }

    private static JsonObject object(byte[] body, int length) {
        return JsonParser.parseString(new String(body, 0, length, StandardCharsets.UTF_8)).getAsJsonObject();
    }

    private static String text(JsonObject from, String name) {
        return from.get(name).getAsString();
    }
}
