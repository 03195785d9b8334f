package frontend;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.QueryStringDecoder;
import io.netty.util.CharsetUtil;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.model.ModelNotFoundException;
import org.pytorch.serve.archive.workflow.WorkflowException;
import org.pytorch.serve.http.HttpRequestHandlerChain;
import org.pytorch.serve.http.MethodNotAllowedException;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerInitializationException;

/**
 * The URLs of the Open Inference Protocol, version 2. Health is answered here. Inference and a model's metadata go the
 * way of /predictions, with a header that tells the worker which of the two is wanted.
 */
public final class OpenInference extends HttpRequestHandlerChain {
    private static final Pattern MODEL =
            Pattern.compile("/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready))?");
    private static final Pattern OURS = Pattern.compile("/v2(?:[/?].*)?");
    static final String WANTED = "open-inference"; // handlers/open_inference/ reads it
    static final String INFER = "infer";
    static final String METADATA = "metadata";
    static final String SERVER = "torchserve";
    static final String EXTENSION = "binary_tensor_data";

    /** Whether a request's target is one of the protocol's, whose errors have a form of their own. */
    static boolean is(String target) {
        return OURS.matcher(target).matches();
    }

    /** Gives an answer the protocol's form of an error, {"error": sentence}, where it has TorchServe's. */
    static void mend(FullHttpResponse response) {
        if (response.status().code() < 400) {
            return;
        }
        String message = message(response.content().toString(CharsetUtil.UTF_8));
        if (message != null) {
            JsonObject error = new JsonObject();
            error.addProperty("error", message);
            response.content().clear().writeCharSequence(error.toString(), CharsetUtil.UTF_8);
            HttpUtil.setContentLength(response, response.content().readableBytes());
        }
    }

    private static String message(String body) {
        try {
            JsonObject object = new Gson().fromJson(body, JsonObject.class);
            JsonElement message = object == null ? null : object.get("message");
            return message != null && message.isJsonPrimitive() ? message.getAsString() : null;
        } catch (JsonParseException other) {
            return null;
        }
    }

    @Override
    public void handleRequest(ChannelHandlerContext context, FullHttpRequest request, QueryStringDecoder target,
            String[] segments)
            throws ModelException, DownloadArchiveException, WorkflowException, WorkerInitializationException {
        request.headers().remove(WANTED).remove(Explanations.WANTED);
        String path = String.join("/", segments);
        Matcher model = MODEL.matcher(path);
        if (path.equals("/v2")) {
            only(HttpMethod.GET, request);
            NettyUtils.sendJsonResponse(context, server());
        } else if (path.equals("/v2/health/live")) {
            only(HttpMethod.GET, request);
            sayWhether(context, new JsonObject(), "live", true);
        } else if (path.equals("/v2/health/ready")) {
            only(HttpMethod.GET, request);
            sayWhether(context, new JsonObject(), "ready", Workers.haveLoaded());
        } else if (model.matches() && "ready".equals(model.group(3))) {
            only(HttpMethod.GET, request);
            JsonObject said = new JsonObject();
            said.addProperty("name", model.group(1));
            sayWhether(context, said, "ready", ready(model.group(1), model.group(2)));
        } else if (model.matches() && !HttpMethod.OPTIONS.equals(request.method())) {
            boolean infer = INFER.equals(model.group(3));
            only(infer ? HttpMethod.POST : HttpMethod.GET, request);
            request.headers().set(WANTED, infer ? INFER : METADATA);
            chain.handleRequest(context, request, target, prediction(model.group(1), model.group(2)));
        } else {
            chain.handleRequest(context, request, target, segments);
        }
    }

    private static void only(HttpMethod method, FullHttpRequest request) {
        if (!method.equals(request.method())) {
            throw new MethodNotAllowedException();
        }
    }

    /** The segments of TorchServe's own path to the model. */
    private static String[] prediction(String model, String version) {
        return version == null ? new String[] {"", "predictions", model}
                : new String[] {"", "predictions", model, version};
    }

    private static JsonObject server() {
        JsonArray extensions = new JsonArray();
        extensions.add(EXTENSION);
        JsonObject said = new JsonObject();
        said.addProperty("name", SERVER);
        said.addProperty("version", ConfigManager.getInstance().getVersion());
        said.add("extensions", extensions);
        return said;
    }

    private static boolean ready(String name, String version) throws ModelException {
        return Workers.loaded(registered(name, version));
    }

    /** The model of that name; {@code version} is null for the default one. */
    static Model registered(String name, String version) throws ModelException {
        Model model = ModelManager.getInstance().getModel(name, version);
        if (model == null) {
            throw new ModelNotFoundException("Model not found: " + name);
        }
        return model;
    }

    /** The protocol has a 4xx for what is not ready. */
    private static void sayWhether(ChannelHandlerContext context, JsonObject said, String what, boolean yes) {
        said.addProperty(what, yes);
        NettyUtils.sendJsonResponse(context, said, yes ? HttpResponseStatus.OK : HttpResponseStatus.BAD_REQUEST);
    }
}
