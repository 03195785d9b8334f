package frontend;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;

/**
 * Counts the fields of a ModelInferRequest before it is parsed. Parsed, it may take many times its bytes: an empty
 * element of a list is two bytes, and then an object; a small number is one byte, and then eight.
 */
final class InferFields {
    private static final int MOST_FIELDS = 1 << 18;
    private static final int MOST_NUMBERS = 1 << 20;

    /** The messages within the message, by the numbers of their fields. */
    private enum Part {
        REQUEST, INPUT, OUTPUT, ENTRY, PARAMETER, CONTENTS, NUMBERS, PLAIN;

        Part inside(int number) {
            switch (this) {
                case REQUEST:
                    return number == 4 ? ENTRY : number == 5 ? INPUT : number == 6 ? OUTPUT : PLAIN;
                case INPUT:
                    return number == 4 ? ENTRY : number == 5 ? CONTENTS : PLAIN;
                case OUTPUT:
                    return number == 2 ? ENTRY : PLAIN;
                case ENTRY:
                    return number == 2 ? PARAMETER : PLAIN;
                case CONTENTS:
                    return number <= 5 ? NUMBERS : PLAIN; // packed, in one byte each or more
                default:
                    return PLAIN;
            }
        }
    }

    private final byte[] bytes;
    private final CodedInputStream input;
    private int fields;
    private int numbers;

    InferFields(byte[] bytes) {
        this.bytes = bytes;
        input = CodedInputStream.newInstance(bytes);
    }

    /** Throws TooMany, or another IOException where it is no message. */
    void check() throws IOException {
        read(Part.REQUEST);
    }

    private void read(Part part) throws IOException {
        for (int tag = input.readTag(); tag != 0; tag = input.readTag()) {
            if (++fields > MOST_FIELDS) {
                throw new TooMany("The message has more than " + MOST_FIELDS + " fields; split the request.");
            }
            switch (WireFormat.getTagWireType(tag)) {
                case WireFormat.WIRETYPE_LENGTH_DELIMITED:
                    descend(part.inside(WireFormat.getTagFieldNumber(tag)));
                    break;
                case WireFormat.WIRETYPE_START_GROUP: // the protocol has none
                case WireFormat.WIRETYPE_END_GROUP:
                    throw new IOException("a group");
                default:
                    input.skipField(tag);
                    break;
            }
        }
    }

    private void descend(Part part) throws IOException {
        int length = input.readRawVarint32();
        if (part == Part.PLAIN || part == Part.NUMBERS) {
            int begin = input.getTotalBytesRead();
            input.skipRawBytes(length);
            if (part == Part.NUMBERS) {
                count(begin, begin + length);
            }
            return;
        }
        int limit = input.pushLimit(length);
        read(part);
        input.popLimit(limit);
    }

    private void count(int begin, int end) throws TooMany {
        for (int at = begin; at < end; at++) {
            numbers += bytes[at] >= 0 ? 1 : 0; // the last byte of a number
        }
        if (numbers > MOST_NUMBERS) {
            throw new TooMany("The contents have more than " + MOST_NUMBERS + " numbers; send them as "
                    + "raw_input_contents.");
        }
    }

    /** The message would take too much memory. */
    static final class TooMany extends IOException {
        private static final long serialVersionUID = 1L;

        TooMany(String what) {
            super(what);
        }
    }
}
