package frontend;

import io.netty.buffer.ByteBuf;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpUtil;
import java.nio.charset.StandardCharsets;

/**
 * Bodies that are labelled a urlencoded form and are none: curl -d and --data-binary label every body so. A body that
 * cannot be a form gets its true type. Any other is left to the handler, which refuses unknown fields.
 */
final class Mislabelled {
    private static final byte[][] IMAGES = {
        {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, {(byte) 0xff, (byte) 0xd8, (byte) 0xff},
        {'G', 'I', 'F', '8', '7', 'a'}, {'G', 'I', 'F', '8', '9', 'a'},
    };
    private static final int BMP_RESERVED = 6; // four bytes of zero, which tell a BMP from a text about BMW
    private static final int WEBP_NAME = 8;

    private Mislabelled() {}

    static boolean isUrlencoded(HttpMessage head) {
        return HttpHeaderValues.APPLICATION_X_WWW_FORM_URLENCODED.contentEqualsIgnoreCase(HttpUtil.getMimeType(head));
    }

    /** The type of a body with this beginning that cannot be a form; null if it may be one. More bytes do not change it. */
    static CharSequence typeOfStart(ByteBuf start) {
        int first = start.forEachByte(each -> each == ' ' || each == '\t' || each == '\r' || each == '\n');
        if (first >= 0 && start.getByte(first) == '{') {
            return HttpHeaderValues.APPLICATION_JSON;
        }
        return isImage(start) ? HttpHeaderValues.APPLICATION_OCTET_STREAM : null;
    }

    /** The same for a whole body. It may also be a text that reads the same with and without a form's escapes. */
    static CharSequence type(ByteBuf body) {
        CharSequence known = typeOfStart(body);
        return known == null && isText(body) ? HttpHeaderValues.TEXT_PLAIN : known;
    }

    private static boolean isText(ByteBuf body) {
        if (!body.isReadable() || "[\"".indexOf(body.getByte(body.readerIndex())) >= 0) { // JSON, or a text like it
            return false;
        }
        return body.forEachByte(each -> each != '=' && each != '&' && each != '+' && each != '%') < 0;
    }

    private static boolean isImage(ByteBuf start) {
        for (byte[] known : IMAGES) {
            if (holds(start, 0, known)) {
                return true;
            }
        }
        return holds(start, 0, ascii("BM")) && holds(start, BMP_RESERVED, new byte[4])
                || holds(start, 0, ascii("RIFF")) && holds(start, WEBP_NAME, ascii("WEBP"));
    }

    private static boolean holds(ByteBuf start, int offset, byte[] expected) {
        if (start.readableBytes() < offset + expected.length) {
            return false;
        }
        for (int index = 0; index < expected.length; index++) {
            if (start.getByte(start.readerIndex() + offset + index) != expected[index]) {
                return false;
            }
        }
        return true;
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }
}
