package frontend;

/** A job that knows the address of its sender, and how to tell it that there is no place. */
interface Sent {
    String peer();

    /** Answers a request that no worker has seen. */
    void refuse(Queue.NoPlace why);
}
