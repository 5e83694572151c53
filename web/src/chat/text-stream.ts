/** A text that grows, and whoever shows it. */

export interface Reader {
  append(text: string): void;
  finish(): void;
}

export class TextStream {
  private readonly readers = new Set<Reader>();

  constructor(
    private written = "",
    private ended = false,
  ) {}

  get text(): string {
    return this.written;
  }

  get done(): boolean {
    return this.ended;
  }

  append(text: string): void {
    if (!text) return;
    this.written += text;
    for (const reader of this.readers) reader.append(text);
  }

  finish(): void {
    if (this.ended) return;
    this.ended = true;
    for (const reader of this.readers) reader.finish();
  }

  /** Tells a reader all that there is, then all that comes. The answer ends it. */
  read(reader: Reader): () => void {
    this.readers.add(reader);
    if (this.written) reader.append(this.written);
    if (this.ended) reader.finish();
    return () => void this.readers.delete(reader);
  }
}
