/** Server-sent events (WHATWG HTML, section 9.2), from text that comes in pieces. */

export interface ServerEvent {
  id: string | null;
  event: string;
  data: string;
}

export class EventParser {
  private rest = "";
  private id: string | null = null;
  private event = "";
  private data: string[] = [];

  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.rest += text;
    let start = 0;
    for (;;) {
      const end = this.lineEnd(start);
      if (end < 0) break;
      this.line(this.rest.slice(start, end), events);
      start = end + (this.rest.startsWith("\r\n", end) ? 2 : 1);
    }
    this.rest = this.rest.slice(start);
    return events;
  }

  /** Where the line ends; -1 while it may go on. A CR at the end of what is known may be half of a CR LF. */
  private lineEnd(start: number): number {
    for (let at = start; at < this.rest.length; at++) {
      const code = this.rest.charCodeAt(at);
      if (code === 10) return at;
      if (code === 13) return at + 1 < this.rest.length ? at : -1;
    }
    return -1;
  }

  private line(line: string, events: ServerEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) events.push({ id: this.id, event: this.event || "message", data: this.data.join("\n") });
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
  }
}
