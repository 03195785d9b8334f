package frontend;

/** A job that knows the address of its sender. */
interface Sent {
    String peer();
}
