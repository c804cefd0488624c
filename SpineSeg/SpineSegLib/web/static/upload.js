// Sends files to the session, and tells the page how far it is: a fetch can't.
window.spinesegUpload = function (kind, files, progress) {
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
