// Browsers start no worker from a file: page, and the search runs in a worker. On such a page this class takes the
// worker's place: it runs the script in a hidden frame and passes the messages between page and frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.ready = new Promise((resolve) => this.frame.addEventListener("load", resolve)).then(() => this.connect());
      this.frame.srcdoc = `<script src="${new URL(url, location.href)}"></script>`;
      document.documentElement.append(this.frame);
    }

    connect() {
      this.frame.contentWindow.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
