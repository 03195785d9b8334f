package frontend;

import io.netty.buffer.ByteBuf;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;

/**
 * Counts a form's fields as they arrive, since Netty's decoder makes some hundred bytes of each and knows no bound. A
 * multipart body is counted in lines that begin with two dashes, as each boundary does, those of nested parts too.
 */
final class Form {
    private static final byte[] BOUNDARY = {'\n', '-', '-'};

    private final boolean multipart;
    private int parts;
    private long bytes;
    private int matched;

    private Form(boolean multipart) {
        this.multipart = multipart;
    }

    /** The request's form; null where its body is none. */
    static Form of(HttpRequest request) {
        boolean multipart = HttpPostRequestDecoder.isMultipart(request);
        CharSequence type = HttpUtil.getMimeType(request);
        boolean urlencoded = HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(type);
        return multipart || urlencoded ? new Form(multipart) : null;
    }

    /** Why a body of that many bytes is not read, or null. */
    Refusal announced(long length) {
        if (multipart || length <= Settings.URLENCODED_BYTES) {
            return null;
        }
        return Refusal.tooLarge("A urlencoded form has at most " + Settings.URLENCODED_BYTES
                + " bytes; send JSON, or a multipart form.");
    }

    /** Why the body is read no further than this piece, or null. */
    Refusal read(ByteBuf piece) {
        bytes += piece.readableBytes();
        piece.forEachByte(multipart ? this::line : this::field);
        if (parts >= Settings.FORM_PARTS) {
            return Refusal.tooLarge("A form has at most " + Settings.FORM_PARTS + " fields or parts.");
        }
        return announced(bytes);
    }

    private boolean field(byte each) {
        parts += each == '&' ? 1 : 0;
        return true;
    }

    private boolean line(byte each) {
        matched = each == BOUNDARY[matched] ? matched + 1 : each == '\n' ? 1 : 0;
        if (matched == BOUNDARY.length) {
            matched = 0;
            parts++;
        }
        return true;
    }
}
