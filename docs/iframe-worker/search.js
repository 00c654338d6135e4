// Browsers give no workers to pages that were opened as files. There the worker of the search runs in a hidden frame.
if (location.protocol === "file:") {
  const load = (frame, url) =>
    new Promise((resolve, reject) => {
      const script = frame.document.createElement("script")
      Object.assign(script, { src: url, onload: resolve, onerror: reject })
      frame.document.head.append(script)
    })

  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const element = document.createElement("iframe")
      element.hidden = true
      element.srcdoc = "<!doctype html><title>search</title>"
      this.frame = new Promise((resolve) => {
        element.onload = async () => {
          const frame = element.contentWindow
          frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
          frame.importScripts = (...urls) => Promise.all(urls.map((each) => load(frame, each)))
          await load(frame, url)
          resolve(frame)
        }
      })
      document.documentElement.append(element)
    }

    async postMessage(data) {
      const frame = await this.frame
      frame.dispatchEvent(new frame.MessageEvent("message", { data }))
    }

    async terminate() {
      (await this.frame).frameElement.remove()
    }
  }
}
