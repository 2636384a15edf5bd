interface Due {
  readonly millis: number;
  readonly run: () => void;
}

/** Time that passes only from one event to the next: a heap of what is due. */
export class VirtualTime {
  readonly #heap: Due[] = [];
  #millis: number;

  constructor(start: Date) {
    this.#millis = start.getTime();
  }

  get now(): number {
    return this.#millis;
  }

  /** Not before now. */
  at(millis: number, run: () => void): void {
    const heap = this.#heap;
    let place = heap.length;
    const due = { millis: Math.max(millis, this.#millis), run };
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.millis <= due.millis) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = due;
  }

  /** Goes on to the next moment at which something is due and runs all of it; false when nothing is. */
  step(): boolean {
    const first = this.#heap[0];
    if (first === undefined) return false;
    this.#millis = first.millis;
    for (let due = this.#heap[0]; due !== undefined && due.millis <= this.#millis; due = this.#heap[0]) {
      this.#removeFirst();
      due.run();
    }
    return true;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let place = 0;
    for (;;) {
      const left = 2 * place + 1;
      const [a, b] = [heap[left], heap[left + 1]];
      const child = b !== undefined && a !== undefined && b.millis < a.millis ? left + 1 : left;
      const below = heap[child];
      if (below === undefined || below.millis >= last.millis) break;
      heap[place] = below;
      place = child;
    }
    heap[place] = last;
  }
}
