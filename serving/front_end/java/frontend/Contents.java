package frontend;

import com.google.protobuf.ByteString;
import io.grpc.Status;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.pytorch.serve.grpc.openinference.OpenInferenceGrpc.InferTensorContents;

/**
 * Converts a tensor's values between the datatype's field of the message and the bytes of a binary tensor. The bytes are
 * little-endian, row-major, each element of BYTES after its length in four bytes.
 */
enum Contents {
    BOOL(1, "bool_contents"),
    INT8(1, "int_contents"), INT16(2, "int_contents"), INT32(4, "int_contents"), INT64(8, "int64_contents"),
    UINT8(1, "uint_contents"), UINT16(2, "uint_contents"), UINT32(4, "uint_contents"), UINT64(8, "uint64_contents"),
    FP32(4, "fp32_contents"), FP64(8, "fp64_contents"), BYTES(0, "bytes_contents");

    private static final int LENGTH = 4; // bytes before an element of BYTES

    private final int size;
    private final String field;

    Contents(int size, String field) {
        this.size = size;
        this.field = field;
    }

    /** Null for an unknown datatype, or one without a field, such as FP16. */
    static Contents of(String datatype) {
        for (Contents each : values()) {
            if (each.name().equals(datatype)) {
                return each;
            }
        }
        return null;
    }

    /** The values in {@code given} as bytes. Throws INVALID_ARGUMENT where some are in another field, or too large. */
    static byte[] toBytes(String datatype, InferTensorContents given, String input) {
        Contents kind = of(datatype);
        int count = kind == null ? 0 : kind.count(given);
        if (all(given) != count) {
            throw wrong(input + " has values in a field of another datatype; " + (kind == null
                    ? "this datatype goes into raw_input_contents." : kind + " belongs into " + kind.field + "."));
        }
        return kind == null ? new byte[0] : kind.pack(given, count, input);
    }

    private byte[] pack(InferTensorContents given, int count, String input) {
        int length = this == BYTES ? length(given.getBytesContentsList()) : count * size;
        ByteBuffer made = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < count; at++) {
            if (!put(made, given, at)) {
                throw wrong(input + " has a value beyond " + this + ".");
            }
        }
        return made.array();
    }

    private static int length(List<ByteString> elements) {
        return elements.stream().mapToInt(each -> LENGTH + each.size()).sum();
    }

    /** Whether any values are there. */
    static boolean has(InferTensorContents given) {
        return all(given) > 0;
    }

    private static int all(InferTensorContents given) {
        return given.getBoolContentsCount() + given.getIntContentsCount() + given.getInt64ContentsCount()
                + given.getUintContentsCount() + given.getUint64ContentsCount() + given.getFp32ContentsCount()
                + given.getFp64ContentsCount() + given.getBytesContentsCount();
    }

    private int count(InferTensorContents given) {
        switch (this) {
            case BOOL:
                return given.getBoolContentsCount();
            case INT8:
            case INT16:
            case INT32:
                return given.getIntContentsCount();
            case INT64:
                return given.getInt64ContentsCount();
            case UINT8:
            case UINT16:
            case UINT32:
                return given.getUintContentsCount();
            case UINT64:
                return given.getUint64ContentsCount();
            case FP32:
                return given.getFp32ContentsCount();
            case FP64:
                return given.getFp64ContentsCount();
            default:
                return given.getBytesContentsCount();
        }
    }

    /** Appends a value; false where the datatype does not hold it. */
    private boolean put(ByteBuffer made, InferTensorContents given, int at) {
        switch (this) {
            case BOOL:
                made.put((byte) (given.getBoolContents(at) ? 1 : 0));
                return true;
            case INT8:
            case INT16:
            case INT32:
                return put(made, given.getIntContents(at), -(1L << 8 * size - 1), (1L << 8 * size - 1) - 1);
            case INT64:
                made.putLong(given.getInt64Contents(at));
                return true;
            case UINT8:
            case UINT16:
            case UINT32:
                return put(made, Integer.toUnsignedLong(given.getUintContents(at)), 0, (1L << 8 * size) - 1);
            case UINT64:
                made.putLong(given.getUint64Contents(at));
                return true;
            case FP32:
                made.putFloat(given.getFp32Contents(at));
                return true;
            case FP64:
                made.putDouble(given.getFp64Contents(at));
                return true;
            default:
                ByteString element = given.getBytesContents(at);
                made.putInt(element.size());
                element.copyTo(made);
                return true;
        }
    }

    private boolean put(ByteBuffer made, long value, long least, long most) {
        if (value < least || value > most) {
            return false;
        }
        switch (size) {
            case 1:
                made.put((byte) value);
                break;
            case 2:
                made.putShort((short) value);
                break;
            default:
                made.putInt((int) value);
                break;
        }
        return true;
    }

    /** The values of a binary tensor, whose bytes are in little-endian order, in the datatype's field. */
    InferTensorContents fromBytes(ByteBuffer data) {
        InferTensorContents.Builder made = InferTensorContents.newBuilder();
        while (data.hasRemaining()) {
            add(made, data);
        }
        return made.build();
    }

    private void add(InferTensorContents.Builder made, ByteBuffer data) {
        switch (this) {
            case BOOL:
                made.addBoolContents(data.get() != 0);
                break;
            case INT8:
                made.addIntContents(data.get());
                break;
            case INT16:
                made.addIntContents(data.getShort());
                break;
            case INT32:
                made.addIntContents(data.getInt());
                break;
            case INT64:
                made.addInt64Contents(data.getLong());
                break;
            case UINT8:
                made.addUintContents(Byte.toUnsignedInt(data.get()));
                break;
            case UINT16:
                made.addUintContents(Short.toUnsignedInt(data.getShort()));
                break;
            case UINT32:
                made.addUintContents(data.getInt());
                break;
            case UINT64:
                made.addUint64Contents(data.getLong());
                break;
            case FP32:
                made.addFp32Contents(data.getFloat());
                break;
            case FP64:
                made.addFp64Contents(data.getDouble());
                break;
            default:
                made.addBytesContents(ByteString.copyFrom(data, data.getInt()));
                break;
        }
    }

    private static RuntimeException wrong(String what) {
        return Status.INVALID_ARGUMENT.withDescription(what).asRuntimeException();
    }
}
