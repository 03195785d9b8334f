package frontend;

/** Times as the headers of an answer have them: "12.345", in milliseconds. */
final class Millis {
    private static final long MICROSECOND = 1_000;

    private Millis() {}

    static String of(long nanos) {
        long micros = Math.max(nanos, 0) / MICROSECOND;
        String rest = Long.toString(MICROSECOND + micros % MICROSECOND);
        return micros / MICROSECOND + "." + rest.substring(1);
    }
}
