package frontend;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.util.ReferenceCountUtil;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/**
 * Checks, before Netty's codec, where each request begins and ends, and how fast it comes. Netty 4.1.53 accepts bare
 * line feeds, unknown transfer codings, two lengths at once and control characters, which a proxy in front may read
 * otherwise. A request that is not strictly HTTP/1.1 is refused: a {@link Refusal} is fired, and later bytes are dropped.
 */
public final class Framing extends ChannelInboundHandlerAdapter {
    private enum State { START, HEADER, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, BROKEN }

    private static final int BLANK_LINES = 4;
    private static final Pattern SIZE = Pattern.compile("[0-9A-Fa-f]{1,8}");

    private final StringBuilder line = new StringBuilder(256);
    private State state = State.START;
    private Head head = new Head();
    private int headBytes;
    private long left;
    private long began;
    private long heard;
    private boolean watched;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (state == State.BROKEN || !(message instanceof ByteBuf)) {
            ReferenceCountUtil.release(message);
            return;
        }
        ByteBuf bytes = (ByteBuf) message;
        heard = System.nanoTime();
        String fault = check(bytes);
        if (fault == null) {
            context.fireChannelRead(bytes);
        } else {
            bytes.release();
            refuse(context, Refusal.malformed(fault));
        }
    }

    /** Drops whatever comes from now on. */
    void stop() {
        state = State.BROKEN;
    }

    private void refuse(ChannelHandlerContext context, Refusal refusal) {
        stop();
        context.fireUserEventTriggered(refusal);
    }

    private String check(ByteBuf bytes) {
        String fault = null;
        for (int at = bytes.readerIndex(); at < bytes.writerIndex() && fault == null; ) {
            if (state == State.BODY || state == State.CHUNK) {
                long passed = Math.min(left, bytes.writerIndex() - at);
                left -= passed;
                at += (int) passed;
                if (left == 0) {
                    enter(state == State.BODY ? State.START : State.CHUNK_END);
                }
            } else {
                fault = read((char) (bytes.getByte(at++) & 0xff));
            }
        }
        return fault;
    }

    private String read(char next) {
        if (idle()) {
            began = heard;
        }
        if (++headBytes > Settings.HEAD_BYTES) {
            return "The request's head has more than " + Settings.HEAD_BYTES + " bytes.";
        }
        int last = line.length() - 1;
        boolean returned = last >= 0 && line.charAt(last) == '\r';
        if (next == '\n') {
            if (!returned) {
                return "A line ends in a line feed alone.";
            }
            line.setLength(last);
            String fault = line(line.toString());
            line.setLength(0);
            return fault;
        }
        if (returned || next < ' ' && next != '\r' && next != '\t' || next == 0x7f) {
            return "The request's head holds a control character.";
        }
        line.append(next);
        return null;
    }

    private String line(String text) {
        switch (state) {
            case START:
                if (text.isEmpty()) {
                    return headBytes > 2 * BLANK_LINES ? "The request begins with empty lines." : null;
                }
                state = State.HEADER;
                return head.start(text);
            case HEADER:
                return text.isEmpty() ? headEnds() : head.header(text);
            case CHUNK_SIZE:
                return chunk(text);
            case CHUNK_END:
                enter(State.CHUNK_SIZE);
                return text.isEmpty() ? null : "A chunk is longer than its size.";
            default:
                if (text.isEmpty()) {
                    enter(State.START);
                    return null;
                }
                return head.header(text);
        }
    }

    private String headEnds() {
        left = head.length();
        String fault = head.end();
        enter(head.chunked() ? State.CHUNK_SIZE : left > 0 ? State.BODY : State.START);
        return fault;
    }

    private String chunk(String text) {
        int extension = text.indexOf(';');
        String size = extension < 0 ? text : text.substring(0, extension);
        if (!SIZE.matcher(size).matches()) {
            return "A chunk's size is not a hexadecimal number.";
        }
        left = Long.parseLong(size, 16);
        enter(left > 0 ? State.CHUNK : State.TRAILER);
        return null;
    }

    private void enter(State next) {
        state = next;
        headBytes = 0;
        if (next == State.START) {
            head = new Head();
        }
    }

    private boolean idle() {
        return state == State.START && headBytes == 0;
    }

    @Override
    public void channelReadComplete(ChannelHandlerContext context) {
        if (!watched && !idle() && state != State.BROKEN) {
            watched = true;
            context.executor().schedule(() -> watch(context), Settings.SILENCE_S / 3, TimeUnit.SECONDS);
        }
        context.fireChannelReadComplete();
    }

    private void watch(ChannelHandlerContext context) {
        watched = false;
        if (idle() || state == State.BROKEN || !context.channel().isActive()) {
            return;
        }
        long now = System.nanoTime();
        if (!context.channel().config().isAutoRead()) {
            heard = now; // we do not listen: the request before this one is being answered
            began = now;
        } else if (seconds(now - heard) >= Settings.SILENCE_S) {
            refuse(context, Refusal.slow("Nothing came for " + Settings.SILENCE_S + " s, and the request is not whole."));
        } else if (seconds(now - began) >= Settings.REQUEST_S) {
            refuse(context, Refusal.slow("The request is not whole after " + Settings.REQUEST_S + " s."));
        }
        channelReadComplete(context);
    }

    private static long seconds(long nanoseconds) {
        return TimeUnit.NANOSECONDS.toSeconds(nanoseconds);
    }
}
