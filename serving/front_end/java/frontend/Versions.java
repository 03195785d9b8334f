package frontend;

import com.google.gson.JsonObject;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.InvalidKeyException;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.model.ModelNotFoundException;
import org.pytorch.serve.archive.workflow.WorkflowException;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.http.HttpRequestHandlerChain;
import org.pytorch.serve.http.MethodNotAllowedException;
import org.pytorch.serve.http.messages.RegisterModelRequest;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.util.TokenAuthorization.TokenType;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerInitializationException;

/**
 * Adds and removes versions of a served model, changes a version's workers and batches, says where it is unpacked, and
 * begins and ends a {@link Mirror}, while requests go on: for make rollout, rollback and scale (serving/client.py).
 * TorchServe's own API for this stays closed. This one takes the key that renews tokens, which the owner of the run
 * folder alone can read, from this machine alone, and archives of the run folder alone.
 */
public final class Versions extends HttpRequestHandlerChain {
    private static final Pattern OURS = Pattern.compile("/versions/([^/]+)(?:/([^/]+)(/mirror)?)?");
    private static final Pattern FILE = Pattern.compile("[\\w.-]+\\.mar");

    @Override
    public void handleRequest(ChannelHandlerContext context, FullHttpRequest request, QueryStringDecoder target,
            String[] segments)
            throws ModelException, DownloadArchiveException, WorkflowException, WorkerInitializationException {
        Matcher named = OURS.matcher(String.join("/", segments));
        if (!named.matches()) {
            chain.handleRequest(context, request, target, segments);
            return;
        }
        if (!isOwner(context.channel().remoteAddress(), request.headers().get(HttpHeaderNames.AUTHORIZATION))) {
            throw new InvalidKeyException("Versions are changed from this machine, with the key that renews tokens.");
        }
        if (named.group(3) != null) {
            mirror(context, request.method(), target, version(named));
        } else if (HttpMethod.POST.equals(request.method()) && named.group(2) == null) {
            String file = NettyUtils.getParameter(target, "archive", "");
            inBackground(context, () -> register(named.group(1), file));
        } else if (HttpMethod.PUT.equals(request.method()) && named.group(2) != null) {
            int workers = NettyUtils.getIntParameter(target, "workers", 0);
            int batch = NettyUtils.getIntParameter(target, "batch_size", 0);
            int delay = NettyUtils.getIntParameter(target, "batch_delay", 0);
            String ending = NettyUtils.getParameter(target, "end_worker", "");
            inBackground(context, () -> change(version(named), workers, batch, delay, ending));
        } else if (HttpMethod.GET.equals(request.method()) && named.group(2) != null) {
            Model model = version(named);
            inBackground(context, () -> said("folder", model.getModelDir().getAbsolutePath()));
        } else if (HttpMethod.DELETE.equals(request.method()) && named.group(2) != null) {
            inBackground(context, () -> remove(version(named)));
        } else {
            throw new MethodNotAllowedException();
        }
    }

    /** Copies of requests for a version that is not the default: begin, collect the answers, end. */
    private static void mirror(ChannelHandlerContext context, HttpMethod method, QueryStringDecoder target, Model model) {
        if (HttpMethod.POST.equals(method)) {
            int seconds = NettyUtils.getIntParameter(target, "seconds", 0);
            double percent = Double.parseDouble(NettyUtils.getParameter(target, "percent", "100"));
            inBackground(context, () -> Mirror.begin(model, seconds, percent));
        } else if (HttpMethod.GET.equals(method)) {
            inBackground(context, () -> Mirror.collect(model));
        } else if (HttpMethod.DELETE.equals(method)) {
            inBackground(context, () -> Mirror.end(model));
        } else {
            throw new MethodNotAllowedException();
        }
    }

    private static boolean isOwner(SocketAddress peer, String given) {
        return peer instanceof InetSocketAddress && ((InetSocketAddress) peer).getAddress().isLoopbackAddress()
                && given != null && TokenAuthorization.isEnabled() && TokenAuthorization.checkTokenAuthorization(
                        TokenAuthorization.parseTokenFromBearerTokenHeader(given), TokenType.TOKEN_API);
    }

    /** Does slow work, such as unpacking or waiting for requests, in another thread than the connection's. */
    private interface Work {
        JsonObject run() throws ModelException, DownloadArchiveException, WorkerInitializationException, IOException,
                InterruptedException;
    }

    private static void inBackground(ChannelHandlerContext context, Work work) {
        ModelManager.getInstance().submitTask(() -> {
            try {
                NettyUtils.sendJsonResponse(context, work.run());
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            } catch (Exception failure) {
                Answering.refuse(context, failure);
            }
        });
    }

    private static Model version(Matcher named) throws ModelException {
        Model model = ModelManager.getInstance().getModel(named.group(1), named.group(2));
        if (model == null) {
            throw new ModelNotFoundException("Model not found: " + named.group(1));
        }
        return model;
    }

    /** Registers a version beside the others, which go on answering, and starts its workers. */
    private static JsonObject register(String name, String file) throws ModelException, DownloadArchiveException,
            WorkerInitializationException, IOException, InterruptedException {
        if (!FILE.matcher(file).matches()) {
            throw new BadRequestException("archive= names a .mar file of the folder that is served from.");
        }
        ConfigManager config = ConfigManager.getInstance();
        ModelManager manager = ModelManager.getInstance();
        ModelArchive archive = manager.registerModel(file, name, null, null,
                -RegisterModelRequest.DEFAULT_BATCH_SIZE, -RegisterModelRequest.DEFAULT_MAX_BATCH_DELAY,
                config.getDefaultResponseTimeout(), config.getDefaultStartupTimeout(), name, false, false, false);
        int workers = archive.getModelConfig() == null ? 1 : Math.max(1, archive.getModelConfig().getMinWorkers());
        manager.updateModel(name, archive.getModelVersion(), workers, workers, true, false);
        return said("version", archive.getModelVersion());
    }

    private static JsonObject change(Model model, int workers, int batch, int delay, String ending)
            throws ModelException, WorkerInitializationException, InterruptedException {
        if (workers < 0 || batch < 0 || delay < 0) {
            throw new BadRequestException("workers, batch_size and batch_delay are numbers of 1 or more.");
        }
        if (batch > 0) { // read anew for each batch
            model.setBatchSize(batch);
        }
        if (delay > 0) {
            model.setMaxBatchDelay(delay);
        }
        if (workers > 0) {
            Draining.scale(model, workers);
        }
        if (!ending.isEmpty()) {
            Draining.end(model, ending);
        }
        return said("version", model.getVersion());
    }

    private static JsonObject remove(Model model) throws ModelException, InterruptedException {
        Draining.remove(model);
        return said("removed", model.getVersion());
    }

    private static JsonObject said(String key, String value) {
        JsonObject said = new JsonObject();
        said.addProperty(key, value);
        return said;
    }
}
