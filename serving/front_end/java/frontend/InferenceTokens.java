package frontend;

import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.QueryStringDecoder;
import org.pytorch.serve.archive.DownloadArchiveException;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.archive.workflow.WorkflowException;
import org.pytorch.serve.http.TokenAuthorizationHandler;
import org.pytorch.serve.util.TokenAuthorization.TokenType;
import org.pytorch.serve.wlm.WorkerInitializationException;

/** TorchServe's check of the inference token, which knows neither mounted tokens nor the choice to open probes. */
public final class InferenceTokens extends TokenAuthorizationHandler {
    public InferenceTokens() {
        super(TokenType.INFERENCE);
    }

    @Override
    public void handleRequest(ChannelHandlerContext context, FullHttpRequest request, QueryStringDecoder target,
            String[] segments)
            throws ModelException, DownloadArchiveException, WorkflowException, WorkerInitializationException {
        if (Access.isOpenPing(request) || Access.isMounted(request)) {
            chain.handleRequest(context, request, target, segments);
        } else {
            super.handleRequest(context, request, target, segments);
        }
    }
}
