package frontend;

import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.regex.Pattern;

/** One request's head, line by line: its length, and what about it is not HTTP/1.1. */
final class Head {
    private static final String TOKEN = "!#$%&'*+-.^_`|~";
    private static final Pattern VERSION = Pattern.compile("HTTP/[0-9]\\.[0-9]");
    private static final Pattern BYTES = Pattern.compile("[0-9]{1,18}");

    private boolean old;
    private int headers;
    private long length = -1;
    private boolean chunked;

    /** Bytes of the body; 0 where there is none. Not for a chunked one. */
    long length() {
        return Math.max(length, 0);
    }

    boolean chunked() {
        return chunked;
    }

    /** What is wrong with the request line, or null. */
    String start(String line) {
        String[] words = line.split(" ", -1);
        if (words.length != 3 || !isToken(words[0]) || words[1].isEmpty() || !VERSION.matcher(words[2]).matches()) {
            return "The request line is not \"METHOD target HTTP/1.1\".";
        }
        old = words[2].equals("HTTP/1.0");
        return null;
    }

    /** What is wrong with a header or trailer line, or null. */
    String header(String line) {
        int colon = line.indexOf(':');
        if (colon < 1 || !isToken(line.substring(0, colon))) {
            return "A header is not \"Name: value\".";
        }
        if (++headers > Settings.HEADERS) {
            return "The request has more than " + Settings.HEADERS + " headers.";
        }
        String value = line.substring(colon + 1).strip();
        switch (line.substring(0, colon).toLowerCase(Locale.ROOT)) {
            case "content-length":
                return contentLength(value);
            case "transfer-encoding":
                return transferEncoding(value);
            default:
                return null;
        }
    }

    private String contentLength(String value) {
        if (length >= 0) {
            return "Content-Length is given twice.";
        }
        if (!BYTES.matcher(value).matches()) {
            return "Content-Length is not a number of bytes.";
        }
        length = Long.parseLong(value);
        return null;
    }

    private String transferEncoding(String value) {
        if (chunked || old || !value.equalsIgnoreCase("chunked")) {
            return "Transfer-Encoding can be \"chunked\", once, in HTTP/1.1, and nothing else.";
        }
        chunked = true;
        return null;
    }

    /** What is wrong with the head as a whole, or null. */
    String end() {
        return chunked && length >= 0 ? "Content-Length and Transfer-Encoding exclude each other." : null;
    }

    private static boolean isToken(String text) {
        for (byte each : text.getBytes(StandardCharsets.ISO_8859_1)) {
            boolean letter = each >= 'a' && each <= 'z' || each >= 'A' && each <= 'Z' || each >= '0' && each <= '9';
            if (!letter && TOKEN.indexOf(each) < 0) {
                return false;
            }
        }
        return !text.isEmpty();
    }
}
