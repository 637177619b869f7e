/**
 * What active health checks found, shared by all threads: one Int32 cell for each endpoint's place. The control thread
 * writes, data threads read; a zeroed cell is an endpoint that gets traffic.
 */
export class HealthCells {
  readonly buffer: SharedArrayBuffer;
  private readonly cells: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.cells = new Int32Array(buffer);
  }

  static allocate(places: number): SharedArrayBuffer {
    return new SharedArrayBuffer(places * Int32Array.BYTES_PER_ELEMENT);
  }

  isHealthy(place: number): boolean {
    return Atomics.load(this.cells, place) === 0;
  }

  set(place: number, healthy: boolean): void {
    Atomics.store(this.cells, place, healthy ? 0 : 1);
  }
}
