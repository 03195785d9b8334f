package org.pytorch.serve;

import frontend.Answering;
import frontend.Connections;
import frontend.Framing;
import frontend.Gate;
import frontend.InferenceTokens;
import frontend.Metrics;
import frontend.OpenInference;
import frontend.Versions;
import io.netty.channel.Channel;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.ssl.SslContext;
import org.pytorch.serve.http.ExtendedSSLHandler;
import org.pytorch.serve.http.HttpRequestHandlerChain;
import org.pytorch.serve.http.InvalidRequestHandler;
import org.pytorch.serve.http.TokenAuthorizationHandler;
import org.pytorch.serve.http.api.rest.ApiDescriptionRequestHandler;
import org.pytorch.serve.http.api.rest.InferenceRequestHandler;
import org.pytorch.serve.http.api.rest.ManagementRequestHandler;
import org.pytorch.serve.http.api.rest.PrometheusMetricsRequestHandler;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization.TokenType;
import org.pytorch.serve.workflow.api.http.WorkflowInferenceRequestHandler;
import org.pytorch.serve.workflow.api.http.WorkflowMgmtRequestHandler;

/** Stands in for TorchServe's class of this name: its request handlers, behind our {@link Framing} and {@link Gate}. */
public final class ServerInitializer extends ChannelInitializer<Channel> {
    private final SslContext ssl;
    private final ConnectorType connector;
    private final Connections connections = new Connections();

    public ServerInitializer(SslContext ssl, ConnectorType connector) {
        this.ssl = ssl;
        this.connector = connector;
        Metrics.begin();
    }

    @Override
    public void initChannel(Channel channel) {
        // ModelServer asks for a linger of 0: each close would be a reset, which may overtake the answer before it.
        channel.config().setOption(ChannelOption.SO_LINGER, -1);
        ChannelPipeline pipeline = channel.pipeline();
        if (ssl != null) {
            pipeline.addLast("ssl", new ExtendedSSLHandler(ssl, connector));
        }
        pipeline.addLast("framing", new Framing());
        pipeline.addLast("http", new HttpServerCodec());
        pipeline.addLast("gate", new Gate(connector, connections));
        pipeline.addLast("aggregator", new HttpObjectAggregator(ConfigManager.getInstance().getMaxRequestSize()));
        pipeline.addLast("handler", new Answering(handlers()));
    }

    private HttpRequestHandlerChain handlers() {
        HttpRequestHandlerChain first = new ApiDescriptionRequestHandler(connector);
        HttpRequestHandlerChain last = first;
        if (serves(ConnectorType.INFERENCE_CONNECTOR)) {
            last = last.setNextHandler(new InferenceTokens());
            last = last.setNextHandler(new OpenInference());
            last = last.setNextHandler(
                    new InferenceRequestHandler(PluginsManager.getInstance().getInferenceEndpoints()));
            last = last.setNextHandler(new WorkflowInferenceRequestHandler());
        }
        if (serves(ConnectorType.MANAGEMENT_CONNECTOR)) {
            last = last.setNextHandler(new Versions());
            last = last.setNextHandler(new TokenAuthorizationHandler(TokenType.MANAGEMENT));
            last = last.setNextHandler(
                    new ManagementRequestHandler(PluginsManager.getInstance().getManagementEndpoints()));
            last = last.setNextHandler(new WorkflowMgmtRequestHandler());
        }
        boolean metrics = ConfigManager.getInstance().isMetricApiEnable() && connector == ConnectorType.ALL;
        if (metrics || connector == ConnectorType.METRICS_CONNECTOR) {
            last = last.setNextHandler(new PrometheusMetricsRequestHandler());
        }
        last.setNextHandler(new InvalidRequestHandler());
        return first;
    }

    private boolean serves(ConnectorType api) {
        return connector == ConnectorType.ALL || connector == api;
    }
}
