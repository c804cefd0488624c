// Sends files to the session, and tells the page how far it is: a fetch can't.
window.spinesegUpload = function (kind, files, megabytes, progress) {
  const size = Array.from(files).reduce((sum, file) => sum + file.size, 0);
  if (size > megabytes * 2 ** 20) {
    return Promise.resolve(`The upload is larger than ${megabytes} MB; leave out what isn't the CT.`);
  }
  return new Promise((resolve) => {
    const form = new FormData();
    for (const file of files) form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => progress(event.lengthComputable ? (100 * event.loaded) / event.total : 0);
    request.onload = () => resolve(request.status === 200 ? "" : request.responseText || "The upload was refused.");
    request.onerror = () => resolve("The connection was lost while uploading; try again.");
    request.open("POST", "upload?kind=" + kind);
    request.send(form);
  });
};

// Where the session has ended, nothing here works any more: say so instead of connecting again for ever.
setInterval(async () => {
  const answer = await fetch("alive").catch(() => null); // null: no connection, which may come back
  if (answer && answer.status === 401) window.location.assign("login?ended");
}, 3000);
