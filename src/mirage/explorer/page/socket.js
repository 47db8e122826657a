// The connection: JSON goes out, binary messages come in as (header, bytes). It comes back by itself when it is lost.

export class Socket {
  constructor({ onMessage, onState }) {
    Object.assign(this, { onMessage, onState, tries: 0, secret: crypto.getRandomValues(new Uint32Array(4)).join("-") });
    this.open();
  }

  open() {
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`;
    const ws = (this.ws = new WebSocket(url));
    ws.binaryType = "arraybuffer";
    ws.onopen = () => {
      this.tries = 0;
      this.send({ session: sessionStorage.getItem("mirage"), secret: this.secret });
      this.onState("open");
    };
    ws.onmessage = ({ data }) => {
      const size = new DataView(data).getUint32(0, true);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
      this.onMessage(header, data.slice(4 + size));
    };
    ws.onclose = ({ code, reason }) => {
      if (this.ws !== ws) return;
      this.onState("lost", code, reason);
      if (code === 4000 || code === 1008 || code === 1013) return; // elsewhere, not allowed, full: asking again is no use
      setTimeout(() => this.open(), Math.min(500 * 2 ** this.tries++, 5000));
    };
  }

  send(message) {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message));
  }
}
