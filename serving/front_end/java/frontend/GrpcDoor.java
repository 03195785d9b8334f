package frontend;

import io.grpc.netty.shaded.io.grpc.netty.GrpcHttp2ConnectionHandler;
import io.grpc.netty.shaded.io.grpc.netty.InternalProtocolNegotiator.ProtocolNegotiator;
import io.grpc.netty.shaded.io.grpc.netty.InternalProtocolNegotiators;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandler;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandlerContext;
import io.grpc.netty.shaded.io.netty.channel.ChannelInboundHandlerAdapter;
import io.grpc.netty.shaded.io.netty.util.AsciiString;

/** Counts the connections of a gRPC port, and closes one that gets no place before a byte of it is read. */
final class GrpcDoor implements ProtocolNegotiator {
    private final ProtocolNegotiator plain = InternalProtocolNegotiators.serverPlaintext();
    private final Connections connections = new Connections();

    @Override
    public AsciiString scheme() {
        return plain.scheme();
    }

    @Override
    public ChannelHandler newHandler(GrpcHttp2ConnectionHandler handler) {
        ChannelHandler inside = plain.newHandler(handler);
        return new ChannelInboundHandlerAdapter() {
            @Override
            public void handlerAdded(ChannelHandlerContext context) {
                if (enters(context)) {
                    context.pipeline().replace(this, null, inside);
                } else {
                    context.channel().close();
                }
            }
        };
    }

    private boolean enters(ChannelHandlerContext context) {
        String peer = Peer.of(context.channel().remoteAddress());
        Connections.Open open = new Connections.Open() {
            @Override
            public String peer() {
                return peer;
            }

            @Override
            public long idleSince() {
                return 0; // gRPC itself ends what is idle (GrpcServer)
            }

            @Override
            public void end() {
                context.channel().close();
            }
        };
        context.channel().closeFuture().addListener(closed -> connections.leave(open));
        return connections.enter(open);
    }

    @Override
    public void close() {
        plain.close();
    }
}
