// Go's net/http: jobs come as lines of JSON on standard input, what the client showed goes out as
// lines of JSON. The default client is used, with nothing set but where, who and what.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
)

type job struct {
	ID, Client, Front, Key, Model, Prompt string
	BodyFile                              string `json:"body_file"`
}

func ask(asked job) map[string]any {
	body, _ := json.Marshal(map[string]string{"model": asked.Model, "prompt": asked.Prompt})
	request, err := http.NewRequest("POST", asked.Front+"/v1/images/generations", bytes.NewReader(body))
	if err != nil {
		return told(err)
	}
	request.Header.Set("Authorization", "Bearer "+asked.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return told(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	shown := map[string]any{"status": response.StatusCode, "protocol": response.Proto}
	if err != nil {
		shown["error"] = told(err)["error"]
	}
	if err := os.WriteFile(asked.BodyFile, read, 0o600); err != nil {
		panic(err)
	}
	return shown
}

func told(err error) map[string]any {
	return map[string]any{"error": map[string]any{"class": fmt.Sprintf("%T", err), "message": err.Error()}}
}

func main() {
	var out sync.Mutex
	say := func(what map[string]any) {
		line, _ := json.Marshal(what)
		out.Lock()
		defer out.Unlock()
		fmt.Println(string(line))
	}
	say(map[string]any{"versions": map[string]string{"go": runtime.Version()[2:]}})
	var jobs sync.WaitGroup
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked job
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		jobs.Add(1)
		go func() {
			defer jobs.Done()
			shown := ask(asked)
			shown["id"] = asked.ID
			say(shown)
		}()
	}
	jobs.Wait()
}
