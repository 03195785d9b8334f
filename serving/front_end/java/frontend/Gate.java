package frontend;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.DuplexChannel;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.ssl.SslHandler;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.NettyUtils;

/**
 * Lets one request of a connection through at a time, if its sender may send it and its body fits; ends the connection
 * as HTTP wants it. Runs in the connection's event loop, as all handlers do.
 */
public final class Gate extends ChannelDuplexHandler implements Connections.Open {
    private final ConnectorType connector;
    private final Connections connections;
    private final Deque<Object> waiting = new ArrayDeque<>();
    private boolean busy; // a whole request is not answered yet; or the connection rests
    private boolean resting; // its last request found no place
    private Pause pause = new Pause();
    private boolean deaf; // the connection ends: what comes is dropped
    private boolean lingering;
    private boolean noPlace; // the next answer is a refusal for lack of a place
    private boolean keepAlive = true;
    private String peer = "";
    private Incoming incoming;
    private HttpJob coming;
    private final Exchange exchange;
    private ChannelHandlerContext self;
    private volatile long idleSince;

    public Gate(ConnectorType connector, Connections connections) {
        this.connector = connector;
        this.connections = connections;
        exchange = new Exchange(connector);
    }

    static Gate of(ChannelHandlerContext context) {
        return context.pipeline().get(Gate.class);
    }

    @Override
    public String peer() {
        return peer;
    }

    @Override
    public long idleSince() {
        return idleSince;
    }

    /** Closes at once: nothing is under way. */
    @Override
    public void end() {
        self.close();
    }

    /** The request under way. */
    Incoming incoming() {
        return incoming;
    }

    /** The job made of the request under way. */
    void holds(HttpJob made) {
        coming = made;
        exchange.holds(made);
    }

    @Override
    public void channelActive(ChannelHandlerContext context) {
        self = context;
        peer = Peer.of(context.channel().remoteAddress());
        exchange.from(peer);
        incoming = new Incoming(connector, peer);
        idleSince = System.nanoTime();
        if (connections.enter(this)) {
            begin(context);
        } else if (connections.queue(this)) {
            context.channel().config().setAutoRead(false);
            context.executor().schedule(() -> enter(context), Settings.RETRY_AFTER_MS, TimeUnit.MILLISECONDS);
        } else {
            end();
        }
    }

    /** Looks once more for a place, before a client is told that there is none: most would be back at once. */
    private void enter(ChannelHandlerContext context) {
        if (!context.channel().isActive()) {
            return;
        }
        if (connections.enter(this)) {
            context.channel().config().setAutoRead(true);
            begin(context);
        } else {
            end();
        }
    }

    private void begin(ChannelHandlerContext context) {
        Pause skipped = Skipped.take(peer);
        if (skipped != null) {
            pause = skipped;
            idleSince = 0;
            busy = true;
            rest(context);
        }
        context.fireChannelActive();
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (deaf) {
            ReferenceCountUtil.release(message);
        } else if (busy) {
            waiting.add(message);
            context.channel().config().setAutoRead(false);
        } else {
            take(context, message);
        }
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        if (!(event instanceof Refusal)) {
            context.fireUserEventTriggered(event);
        } else if (busy) {
            waiting.add(event);
        } else if (!deaf) {
            refuse(context, (Refusal) event);
        }
    }

    private void take(ChannelHandlerContext context, Object message) {
        exchange.begins(); // anew with each part of the request
        Refusal refusal = message instanceof Refusal ? (Refusal) message : null;
        if (message instanceof HttpRequest) {
            idleSince = 0;
            NettyUtils.requestReceived(context.channel(), (HttpRequest) message);
            exchange.asks((HttpRequest) message);
            refusal = incoming.begins((HttpRequest) message);
            keepAlive = incoming.keepAlive();
        }
        if (refusal == null && message instanceof HttpContent) {
            exchange.receives(((HttpContent) message).content().readableBytes());
            refusal = incoming.goesOn((HttpContent) message);
        }
        if (refusal != null) {
            ReferenceCountUtil.release(message);
            exchange.refused(incoming.noPlace());
            refuse(context, refusal);
            return;
        }
        busy = message instanceof LastHttpContent;
        if (incoming.noPlace() != null) {
            ReferenceCountUtil.release(message);
            if (busy) {
                noPlace(context, incoming.noPlace());
            }
            return;
        }
        context.fireChannelRead(message);
        if (coming != null) {
            coming.isQueued();
            coming = null;
        }
    }

    private void refuse(ChannelHandlerContext context, Refusal refusal) {
        deaf = true;
        keepAlive = false;
        answer(context, refusal);
    }

    /** Answers a request that is not handed on. */
    void answer(ChannelHandlerContext context, Refusal refusal) {
        exchange.refused(refusal);
        refusal.send(context);
    }

    /**
     * Answers a whole request for which a queue has no place. The connection stays, unless its client wants it closed, but
     * is not read for a while: a client that does not heed Retry-After would take the processors from the workers.
     */
    void noPlace(ChannelHandlerContext context, Queue.NoPlace why) {
        noPlace = true;
        exchange.refused(why);
        Refusal.busy(why.getMessage(), why.kind()).send(context);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (message instanceof HttpResponse) {
            HttpResponse response = (HttpResponse) message;
            if (response.status().codeClass() == HttpStatusClass.INFORMATIONAL) {
                context.write(message, promise);
                return;
            }
            if (incoming.openInference() && message instanceof FullHttpResponse) {
                OpenInference.mend((FullHttpResponse) message);
            }
            exchange.answers(response);
            keepAlive &= !Connections.areEnding();
            if (response.status().equals(HttpResponseStatus.SERVICE_UNAVAILABLE)) {
                response.headers().set(HttpHeaderNames.RETRY_AFTER, Settings.RETRY_AFTER_S);
            }
            if (response.status().equals(HttpResponseStatus.UNAUTHORIZED)) {
                response.headers().set(HttpHeaderNames.WWW_AUTHENTICATE, "Bearer");
            }
            if (response.status().equals(HttpResponseStatus.METHOD_NOT_ALLOWED) && incoming.allowed() != null) {
                response.headers().set(HttpHeaderNames.ALLOW, incoming.allowed());
            }
            if (!keepAlive || noPlace) { // TorchServe says "close" with every error
                response.headers().set(HttpHeaderNames.CONNECTION,
                        keepAlive ? HttpHeaderValues.KEEP_ALIVE : HttpHeaderValues.CLOSE);
            }
        }
        if (message instanceof HttpContent) {
            exchange.sends(((HttpContent) message).content().readableBytes());
        }
        if (!(message instanceof LastHttpContent)) {
            context.write(message, promise);
            return;
        }
        boolean rests = noPlace && keepAlive;
        // TorchServe closes the connection when the promise of an error completes; this promise never does.
        ChannelPromise written = rests ? context.newPromise() : promise.unvoid();
        if (!keepAlive) {
            deaf = true;
            written.addListener(done -> context.channel().close());
        }
        count(noPlace);
        context.write(message, written);
        exchange.ends();
        incoming.settle();
        if (rests) {
            rest(context);
        } else {
            goOn(context);
        }
    }

    private void count(boolean refused) {
        noPlace = false;
        if (!refused) {
            pause.answered();
            return;
        }
        pause.refused();
        if (!keepAlive) {
            Skipped.add(peer, pause);
        }
    }

    private void rest(ChannelHandlerContext context) {
        resting = true;
        context.channel().config().setAutoRead(false);
        context.executor().schedule(() -> goOn(context), pause.left(), TimeUnit.NANOSECONDS);
    }

    private void goOn(ChannelHandlerContext context) {
        busy = false;
        resting = false;
        idleSince = System.nanoTime();
        if (!context.channel().config().isAutoRead()) {
            context.executor().execute(() -> drain(context));
        }
    }

    private void drain(ChannelHandlerContext context) {
        while (!busy && !waiting.isEmpty()) {
            channelRead(context, waiting.poll());
        }
        if (waiting.isEmpty() && !resting && context.channel().isActive()) {
            context.channel().config().setAutoRead(true);
        }
    }

    /**
     * Says that nothing more comes, and drops for a while what the peer still sends: a close with bytes unread is a reset,
     * after which a client may not see the answer.
     */
    @Override
    public void close(ChannelHandlerContext context, ChannelPromise promise) {
        boolean plain = !isEncrypted(context) && context.channel() instanceof DuplexChannel;
        if (!plain || !context.channel().isActive()) {
            context.close(promise);
            return;
        }
        context.channel().closeFuture().addListener(closed -> promise.trySuccess());
        if (lingering) {
            return;
        }
        lingering = true;
        deaf = true;
        context.pipeline().get(Framing.class).stop();
        context.channel().config().setAutoRead(true);
        ((DuplexChannel) context.channel()).shutdownOutput();
        context.executor().schedule(() -> context.close(), Settings.LINGER_S, TimeUnit.SECONDS);
    }

    /** TorchServe's handler puts Netty's, under a name of its own, in its place once a TLS connection begins. */
    private static boolean isEncrypted(ChannelHandlerContext context) {
        return context.pipeline().get("ssl") != null || context.pipeline().get(SslHandler.class) != null;
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        connections.leave(this);
        if (resting) {
            Skipped.add(peer, pause);
        }
        exchange.breaks();
        incoming.settle();
        waiting.forEach(ReferenceCountUtil::release);
        waiting.clear();
        context.fireChannelInactive();
    }
}
