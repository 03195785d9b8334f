package frontend;

import io.netty.buffer.ByteBuf;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.multipart.HttpPostRequestDecoder;

/**
 * Counts a form's fields as they arrive, since Netty's decoder takes some hundred bytes for each and has no limit. A
 * multipart body is counted in lines that begin with two dashes, as each boundary does, those of nested parts too.
 */
final class Form {
    private static final byte[] BOUNDARY = {'\n', '-', '-'};

    private final boolean multipart;
    private final long announced;
    private boolean none; // curl -d labels the body a form, and it is none
    private int parts;
    private long bytes;
    private int matched;

    private Form(boolean multipart, long announced) {
        this.multipart = multipart;
        this.announced = announced;
    }

    /** The form in a request whose head announces that many bytes; null where its body is none. */
    static Form of(HttpRequest request, long length) {
        boolean multipart = HttpPostRequestDecoder.isMultipart(request);
        return multipart || Mislabelled.isUrlencoded(request) ? new Form(multipart, length) : null;
    }

    /** Why the body is read no further than this piece, or null. */
    Refusal read(ByteBuf piece) {
        none = bytes == 0 && !multipart ? Mislabelled.typeOfStart(piece) != null : none;
        bytes += piece.readableBytes();
        return none ? null : counted(piece);
    }

    private Refusal counted(ByteBuf piece) {
        piece.forEachByte(multipart ? this::line : this::field);
        if (parts >= Settings.FORM_PARTS) {
            return Refusal.tooLarge("A form has at most " + Settings.FORM_PARTS + " fields or parts.");
        }
        return multipart || Math.max(bytes, announced) <= Settings.URLENCODED_BYTES ? null
                : Refusal.tooLarge("A urlencoded form has at most " + Settings.URLENCODED_BYTES + " bytes; send text with "
                + "-H 'Content-Type: text/plain', JSON with -H 'Content-Type: application/json', or a multipart form.");
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
