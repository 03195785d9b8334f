package frontend;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufInputStream;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpUtil;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.zip.GZIPInputStream;

/** Turns a whole request into one that TorchServe reads correctly: without gzip, and with its body's real type. */
final class Plain {
    private static final int PIECE = 1 << 15;

    private Plain() {}

    /** A body that cannot be read; the refusal says why. */
    static final class Unreadable extends Exception {
        final transient Refusal refusal;

        Unreadable(Refusal refusal) {
            super(null, null, false, false);
            this.refusal = refusal;
        }
    }

    /** Whether the body is sent in a coding. */
    static boolean isCoded(HttpRequest head) {
        List<String> codings = head.headers().getAll(HttpHeaderNames.CONTENT_ENCODING);
        return !codings.isEmpty() && !(codings.size() == 1 && codings.get(0).equalsIgnoreCase("identity"));
    }

    /** Why a body in the coding that the head names is not read, or null. */
    static Refusal announced(HttpRequest head) {
        List<String> codings = head.headers().getAll(HttpHeaderNames.CONTENT_ENCODING);
        boolean gzip = codings.size() == 1 && (codings.get(0).equalsIgnoreCase("gzip")
                || codings.get(0).equalsIgnoreCase("x-gzip"));
        return gzip || !isCoded(head) ? null
                : Refusal.unsupported("Content-Encoding can be gzip, once; send the body so, or as it is.");
    }

    /**
     * The request, or one with its true body and type in its place, which the caller releases. Asks {@code sender}
     * before it holds more bytes.
     */
    static FullHttpRequest of(FullHttpRequest request, Incoming sender) throws Unreadable {
        boolean packed = isCoded(request) && request.content().isReadable();
        FullHttpRequest plain = packed ? unpacked(request, sender) : request;
        CharSequence type = Mislabelled.isUrlencoded(plain) ? Mislabelled.type(plain.content()) : null;
        if (type != null) {
            plain.headers().set(HttpHeaderNames.CONTENT_TYPE, type);
        } else if (packed) {
            countFields(plain);
        }
        return plain;
    }

    private static FullHttpRequest unpacked(FullHttpRequest request, Incoming sender) throws Unreadable {
        ByteBuf body = unpack(request.content(), sender);
        FullHttpRequest plain = request.replace(body);
        plain.headers().remove(HttpHeaderNames.CONTENT_ENCODING);
        HttpUtil.setContentLength(plain, body.readableBytes());
        return plain;
    }

    /** A direct buffer, since TorchServe takes the whole array of a heap buffer for each part of a form. */
    private static ByteBuf unpack(ByteBuf packed, Incoming sender) throws Unreadable {
        ByteBuf whole = Unpooled.directBuffer(PIECE);
        boolean done = false;
        byte[] piece = new byte[PIECE];
        try (InputStream bytes = new GZIPInputStream(new ByteBufInputStream(packed.duplicate()), PIECE)) {
            for (int read = bytes.read(piece); read >= 0; read = bytes.read(piece)) {
                Refusal refusal = sender.unpacks(read);
                if (refusal != null) {
                    throw new Unreadable(refusal);
                }
                whole.writeBytes(piece, 0, read);
            }
            done = true;
            return whole;
        } catch (IOException damaged) {
            throw new Unreadable(Refusal.malformed("The body is not valid gzip, or is cut short."));
        } finally {
            if (!done) {
                whole.release();
            }
        }
    }

    /** The fields of a form that arrived packed, which could not be counted then. */
    private static void countFields(FullHttpRequest plain) throws Unreadable {
        Form form = Form.of(plain, plain.content().readableBytes());
        Refusal refusal = form == null ? null : form.read(plain.content());
        if (refusal != null) {
            plain.release();
            throw new Unreadable(refusal);
        }
    }
}
