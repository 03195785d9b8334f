package frontend;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.io.IOException;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.InvalidKeyException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.model.ModelNotFoundException;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.archive.workflow.WorkflowNotFoundException;
import org.pytorch.serve.http.ConflictStatusException;
import org.pytorch.serve.http.HttpRequestHandlerChain;
import org.pytorch.serve.http.InternalServerException;
import org.pytorch.serve.http.MethodNotAllowedException;
import org.pytorch.serve.http.RequestTimeoutException;
import org.pytorch.serve.http.ResourceNotFoundException;
import org.pytorch.serve.http.ServiceUnavailableException;
import org.pytorch.serve.util.NettyUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands a whole request to TorchServe's handlers, and answers their exceptions. A failure while a request is read counts
 * as its sender's error. Of other failures the places are logged, without the messages, which may hold
 * a user's data.
 */
public final class Answering extends SimpleChannelInboundHandler<FullHttpRequest> {
    private static final Logger LOGGER = LoggerFactory.getLogger(Answering.class);
    private static final int FRAMES = 12;

    private final HttpRequestHandlerChain handlers;

    public Answering(HttpRequestHandlerChain handlers) {
        this.handlers = handlers;
    }

    @Override
    protected void channelRead0(ChannelHandlerContext context, FullHttpRequest request) {
        FullHttpRequest plain = request;
        int references = request.refCnt();
        try {
            QueryStringDecoder target = new QueryStringDecoder(request.uri());
            plain = Plain.of(request, Gate.of(context).incoming());
            references = plain.refCnt();
            handlers.handleRequest(context, plain, target, target.path().split("/"));
        } catch (Plain.Unreadable body) {
            Gate.of(context).answer(context, body.refusal);
        } catch (Throwable failure) {
            // Netty's decoder never releases the body of a multipart form that it cannot read.
            int kept = plain.refCnt() - references;
            if (kept > 0) {
                plain.release(kept);
            }
            refuse(context, failure);
        } finally {
            if (plain != request) {
                plain.release();
            }
        }
    }

    /** Answers a handler's exception: with a 4xx if the sender caused it. */
    static void refuse(ChannelHandlerContext context, Throwable failure) {
        HttpResponseStatus status = status(failure);
        if (status.code() >= 500 && status != HttpResponseStatus.SERVICE_UNAVAILABLE) {
            log(failure);
        }
        if (failure instanceof Queue.NoPlace) {
            Gate.of(context).noPlace(context, (Queue.NoPlace) failure);
        } else {
            NettyUtils.sendError(context, status, failure);
        }
    }

    private static HttpResponseStatus status(Throwable failure) {
        if (failure instanceof ResourceNotFoundException || failure instanceof ModelNotFoundException
                || failure instanceof ModelVersionNotFoundException || failure instanceof WorkflowNotFoundException) {
            return HttpResponseStatus.NOT_FOUND;
        }
        if (failure instanceof InvalidKeyException) {
            return HttpResponseStatus.UNAUTHORIZED;
        }
        if (failure instanceof ConflictStatusException) {
            return HttpResponseStatus.CONFLICT;
        }
        if (failure instanceof RequestTimeoutException) {
            return HttpResponseStatus.REQUEST_TIMEOUT;
        }
        if (failure instanceof MethodNotAllowedException) {
            return HttpResponseStatus.METHOD_NOT_ALLOWED;
        }
        if (failure instanceof ServiceUnavailableException) {
            return HttpResponseStatus.SERVICE_UNAVAILABLE;
        }
        if (failure instanceof OutOfMemoryError) {
            return HttpResponseStatus.INSUFFICIENT_STORAGE;
        }
        boolean ours = failure instanceof InternalServerException;
        boolean theirs = failure instanceof RuntimeException || failure instanceof ModelException
                || failure instanceof DownloadArchiveException;
        return theirs && !ours ? HttpResponseStatus.BAD_REQUEST : HttpResponseStatus.INTERNAL_SERVER_ERROR;
    }

    private static void log(Throwable failure) {
        String places = Arrays.stream(failure.getStackTrace()).limit(FRAMES).map(Object::toString)
                .collect(Collectors.joining(" < "));
        LOGGER.error("{} at {}", failure.getClass().getName(), places);
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable failure) {
        if (!(failure instanceof IOException)) { // the peer's reset
            log(failure);
        }
        if (failure instanceof OutOfMemoryError) {
            NettyUtils.sendError(context, HttpResponseStatus.INSUFFICIENT_STORAGE, failure);
        }
        context.close();
    }
}
