// What is open at this moment, from one stream of events that every page shares.
//
// A browser grants an HTTP/1.1 server six connections for all of its tabs together, and a stream takes one: it is closed
// while the page is hidden, and what was missed is read anew afterwards.

const TELLS_EVERY_MS = 250;
const AGAIN_MS = 3000;

class Live extends EventTarget {
  /** Open generations by id, newest first; and the load beside them. */
  open = new Map();
  load = null;
  state = "closed";
  #source = null;
  #wanted = false;
  #pending = new Map();
  #timer = null;
  #retry = null;

  start() {
    this.#wanted = true;
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#onVisible();
  }

  stop() {
    this.#wanted = false;
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#close("closed");
    this.open.clear();
  }

  /** Take the state of a list that was just read. */
  adopt(generations, load) {
    this.open = new Map(generations.map((each) => [each.id, each]));
    this.load = load;
    this.#tell();
  }

  #onVisible = () => {
    if (document.hidden) this.#close("closed");
    else if (this.#wanted && !this.#source) this.#connect();
  };

  #connect() {
    const source = new EventSource("/admin/v1/events");
    this.#source = source;
    source.onopen = () => {
      this.#become("open");
      this.dispatchEvent(new Event("reread"));
    };
    source.onerror = () => {
      this.#close("lost");
      // EventSource gives up for good on a refusal, and comes again at once on a cut: one rule for both.
      this.#retry = setTimeout(this.#onVisible, AGAIN_MS);
    };
    source.addEventListener("generation", (event) => this.#moved(JSON.parse(event.data).generation));
    source.addEventListener("progress", (event) => this.#progressed(JSON.parse(event.data)));
    source.addEventListener("behind", () => this.dispatchEvent(new Event("reread")));
  }

  #close(state) {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.#become(state);
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #moved(generation) {
    const isOpen = ["queued", "running"].includes(generation.status);
    if (isOpen && !this.open.has(generation.id)) this.open = new Map([[generation.id, generation], ...this.open]);
    else if (isOpen) this.open.set(generation.id, generation);
    else this.open.delete(generation.id);
    this.#pending.set(generation.id, generation);
    this.#soon();
  }

  #progressed({ progress, load }) {
    for (const [id, each] of Object.entries(progress ?? {})) {
      const known = this.open.get(id);
      if (known) this.open.set(id, { ...known, progress: each, elapsed_s: each.elapsed_s });
    }
    this.load = load ?? this.load;
    this.#soon();
  }

  // A burst of thousands of events is drawn four times a second, not thousands of times.
  #soon() {
    this.#timer ??= setTimeout(() => this.#tell(), TELLS_EVERY_MS);
  }

  #tell() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const moved = [...this.#pending.values()];
    this.#pending.clear();
    this.dispatchEvent(new CustomEvent("change", { detail: moved }));
  }
}

export const live = new Live();
